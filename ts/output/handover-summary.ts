/** What a handover prints at its end, for people. Pure. */

import type { ChalkInstance } from 'chalk'
import type {
  CutMethod,
  DestinationNetdev,
  HandoverReport,
  NetdevOutcome,
  SourceNetdev,
} from '../handover/report/shape.ts'
import { formatCount, formatDuration, formatFrames } from './format.ts'

const CUT_IN_WORDS: Record<CutMethod, string> = {
  used_ring: 'exact, from the used ring',
  used_index: 'from the used index',
  queue_status: "from the VM's own word of its queue: mostly exact, the guest may lack up to 2 frames",
  tx_packets: "from the TAP's counter: the guest may lack up to 2 frames",
  timestamp: "from QEMU's time of the stop: up to 4 frames may be lost",
}

/** A heading and its lines for each netdev. */
export function summaryBlocks(
  report: HandoverReport,
  colors: ChalkInstance,
): { heading: string; lines: string[] }[] {
  const blocks =
    report.side === 'source'
      ? report.netdevs.map(netdev => ({ netdev, rows: sourceRows(netdev) }))
      : report.netdevs.map(netdev => ({ netdev, rows: destinationRows(netdev) }))
  return blocks.map(({ netdev, rows }) => {
    const width = Math.max(...rows.map(([name]) => name.length))
    const outcome = paint(netdev.outcome, colors)(netdev.outcome)
    const why = netdev.reason === null ? '' : `: ${netdev.reason}`
    return {
      heading: `summary: ${netdev.netdev} (${netdev.interface}) ${outcome}${why}`,
      lines: rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    }
  })
}

type Row = readonly [name: string, value: string]

function sourceRows(netdev: SourceNetdev): Row[] {
  const { cut_method: method, cut_reason: why, cut_after_ms: after } = netdev
  const when = after === null ? '' : `, known after ${formatDuration(after)}`
  return [
    ...common(netdev),
    ['captured', formatFrames(netdev.captured)],
    ['sent', formatCount(netdev.sent)],
    ['acknowledged', formatCount(netdev.acknowledged)],
    ...counts([
      ['still held', netdev.held],
      ['given back', netdev.given_back],
      ['reflected', netdev.reflected],
      ['discarded', netdev.discarded],
    ]),
    lost([
      ['hold_full', netdev.hold_full],
      ['ring_full', netdev.ring_full],
      ['unsendable', netdev.unsendable],
      ['no_peer', netdev.no_peer],
    ]),
    ...(method === null ? [] : [['cut', `${CUT_IN_WORDS[method]}${when}`] as const]),
    ...(why === null ? [] : [['', why] as const]),
    ...(method === null || netdev.tap_held
      ? []
      : [['TAP', 'not held: frames after the end of its VM are not captured'] as const]),
  ]
}

function destinationRows(netdev: DestinationNetdev): Row[] {
  return [
    ...common(netdev),
    ['received', formatFrames(netdev.received)],
    ['injected', formatCount(netdev.injected)],
    ...counts([
      ['deduplicated', netdev.deduplicated],
      ['from before the cut', netdev.before_cut],
      ['discarded', netdev.discarded],
      ['still parked', netdev.parked],
      ['kept out by the gate', netdev.kept_out],
    ]),
    lost([
      ['refused', netdev.refused],
      ['lost_at_tap', netdev.lost_at_tap],
    ]),
    ...(netdev.injected === 0
      ? []
      : [
          [
            'delay',
            `${formatDuration(netdev.delay_mean_ms)} on average, ${formatDuration(netdev.delay_most_ms)} at most`,
          ] as const,
        ]),
    ['gate', netdev.gate ?? 'none: broadcasts may have come twice'],
  ]
}

function common({ downtime_ms: downtime, links_lost: links }: SourceNetdev | DestinationNetdev): Row[] {
  return [
    ...(downtime === null ? [] : [['downtime', formatDuration(downtime)] as const]),
    ...(links === 0 ? [] : [['link lost', links === 1 ? 'once' : `${links} times`] as const]),
  ]
}

/** Those that there are. */
function counts(rows: readonly (readonly [name: string, frames: number])[]): Row[] {
  return rows.filter(([, frames]) => frames > 0).map(([name, frames]) => [name, formatCount(frames)])
}

function lost(reasons: readonly (readonly [reason: string, frames: number])[]): Row {
  const sum = reasons.reduce((total, [, frames]) => total + frames, 0)
  const where = reasons.filter(([, frames]) => frames > 0)
  const list = where.map(([reason, frames]) => `${reason} ${formatCount(frames)}`).join(', ')
  return ['lost', sum === 0 ? 'none' : `${formatCount(sum)} (${list})`]
}

function paint(outcome: NetdevOutcome, { green, yellow, red }: ChalkInstance): ChalkInstance {
  if (outcome === 'done') return green
  return outcome === 'failed' || outcome === 'pending' ? red : yellow
}
