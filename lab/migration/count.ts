/** What has become of the numbered frames of a flow, and when those were sent that are missing. */

import type { Flow } from '../../test/support/tally.ts'

/** What was sent, evenly spaced between two times: CLOCK_REALTIME, ns. Numbers count from 0. */
export interface Sent {
  readonly sent: number
  readonly firstNs: bigint
  readonly lastNs: bigint
  /** A second, as was asked for. */
  readonly rate: number
}

/** When the VM was not running, as its events say. */
export interface Window {
  readonly stoppedNs: bigint
  readonly resumedNs: bigint
}

export interface Count {
  readonly sent: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  /** Of the lost ones, those that no migration explains: a guest that was too slow for its queue, for example. */
  readonly elsewhere: number
  /** Of those that were sent when the guest had run again for long enough that all is as before. */
  readonly later: { readonly sent: number; readonly lost: number }
  readonly gaps: readonly Gap[]
}

/** Missing numbers in a row, and when they were sent, in ms after STOP, about. */
export interface Gap {
  readonly first: number
  readonly last: number
  readonly fromMs: number
  readonly toMs: number
}

/**
 * A frame that is lost so long before STOP may have been unread in the TAP's queue; one so long after RESUME may
 * have gone to the old host, because the network had not heard of the new one yet.
 */
const MARGIN_MS = 150
/** A sender that is slower than this part of its rate has stood still for a while: when it sent which is not known. */
const STEADY = 0.95
/** QEMU has announced the guest for the last time long before. */
const LATER_MS = 2_000

export function count(flow: Flow | undefined, sent: Sent, { stoppedNs, resumedNs }: Window): Count {
  const { ranges = [], duplicates = 0, outOfOrder = 0 } = flow ?? {}
  const startMs = Number(sent.firstNs - stoppedNs) / 1e6
  const spacingMs = Number(sent.lastNs - sent.firstNs) / 1e6 / Math.max(sent.sent, 1)
  const at = (number: number) => Math.round((startMs + number * spacingMs) * 10) / 10
  const gaps = missing(ranges, sent.sent).map(([first, last]) => {
    return { first, last, fromMs: at(first), toMs: at(last) }
  })
  const resumedMs = Number(resumedNs - stoppedNs) / 1e6
  const endMs = resumedMs + MARGIN_MS
  const firstLater = Math.ceil((resumedMs + LATER_MS - startMs) / spacingMs)
  const isSteady = sent.rate * spacingMs * STEADY < 1_000
  const explained = (gap: Gap) => !isSteady || (gap.toMs >= -MARGIN_MS && gap.fromMs <= endMs)
  return {
    sent: sent.sent,
    lost: total(gaps),
    duplicated: duplicates,
    reordered: outOfOrder,
    elsewhere: total(gaps.filter(gap => !explained(gap))),
    later: {
      sent: Math.max(sent.sent - firstLater, 0),
      lost: total(gaps.map(gap => ({ ...gap, first: Math.max(gap.first, firstLater) }))),
    },
    gaps,
  }
}

function total(gaps: readonly Pick<Gap, 'first' | 'last'>[]): number {
  return gaps.reduce((sum, { first, last }) => sum + Math.max(last - first + 1, 0), 0)
}

/** The complement of ascending ranges. */
function missing(ranges: Flow['ranges'], sent: number): [first: number, last: number][] {
  const gaps: [number, number][] = []
  let next = 0
  for (const [first, last] of [...ranges, [sent, sent] as const]) {
    if (next < first) gaps.push([next, first - 1])
    next = last + 1
  }
  return gaps
}
