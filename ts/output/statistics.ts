/**
 * Statistics for people and for programs, in tcpdump's words: captured, forwarded, dropped and why, lost at
 * the output. Pure.
 */

import type { ChalkInstance } from 'chalk'
import type { Statistics } from '../binding.ts'
import type { RunPlan } from '../run/plan.ts'
import { formatBytes, formatCount, formatDuration, formatFrames, QUEUE_IN_WORDS } from './format.ts'
import type { RecordFields } from './printer.ts'

/** What the drop reasons mean to an operator; a reason of the core that is not listed stands for itself. */
const REASONS_IN_WORDS: Readonly<Record<string, string>> = {
  gate_closed: 'the gate was closed',
  pre_roll_full: 'the pre-roll was full',
  hold_full: 'the buffer was full of frames on hold',
  ring_full: 'the capture ring was full: we were too slow',
  too_long: "longer than out_netdev's MTU",
  output_down: 'out_netdev was down',
  output_missing: 'out_netdev was missing',
  output_full: "out_netdev's queue was full",
  no_peer: 'outdev had no peer',
  truncated: 'cut by the kernel',
  malformed: 'headers that make no sense',
  unsupported_offload: 'offloads that out_netdev cannot be told of',
  refused: 'refused by the kernel',
  count_reached: 'beyond --count',
  stopped: 'still waiting for the output at the end',
}

/** Those that mean something else where frames go to a stream. */
const REASONS_OF_OUTDEV: Readonly<Record<string, string>> = {
  too_long: 'longer than a record may be, 69,632 bytes',
  output_full: "outdev's peer was too slow: the buffer was full",
  unsupported_offload: 'offloads that outdev cannot be told of',
}

function reasonInWords(reason: string, { outdev }: Statistics): string {
  return (outdev === undefined ? undefined : REASONS_OF_OUTDEV[reason]) ?? REASONS_IN_WORDS[reason] ?? ''
}

/** The reasons that dropped frames, most frames first. */
function dropReasons(statistics: Statistics): [reason: string, frames: number][] {
  return Object.entries(statistics.dropped)
    .filter(([, frames]) => frames > 0)
    .sort(([, a], [, b]) => b - a)
}

function droppedFrames(statistics: Statistics): number {
  return Object.values(statistics.dropped).reduce((sum, frames) => sum + frames, 0)
}

/** One line, for regular statistics. */
export function statisticsLine(statistics: Statistics): string {
  const reasons = dropReasons(statistics).map(([reason, frames]) => `${reason} ${formatCount(frames)}`)
  const parts = [
    `captured ${formatCount(statistics.captured)}`,
    `forwarded ${formatCount(statistics.forwarded)} (${formatBytes(statistics.forwardedBytes)})`,
    `dropped ${formatCount(droppedFrames(statistics))}${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}`,
    ...(statistics.held > 0 ? [`held ${formatCount(statistics.held)}`] : []),
    ...(statistics.framingErrors > 0 ? [`framing errors ${formatCount(statistics.framingErrors)}`] : []),
    ...(statistics.tlsFailures > 0 ? [`TLS failures ${formatCount(statistics.tlsFailures)}`] : []),
    // Only an interface counts what it loses.
    ...(statistics.outNetdev === undefined ? [] : [`lost at output ${formatCount(statistics.lostAtOutput)}`]),
    `gate ${statistics.gate}`,
  ]
  return parts.join(', ')
}

type Row = readonly [name: string, frames: string, rest: string]

/** The table behind SIGUSR1 and the summary, a line each; what is zero and says nothing is left out. */
export function statisticsTable(statistics: Statistics, colors: ChalkInstance): string[] {
  const { held, forwardedLate, lostAtOutput, framingErrors, tlsFailures } = statistics
  const dropped = droppedFrames(statistics)
  const rows: Row[] = [
    ['captured', formatCount(statistics.captured), formatBytes(statistics.capturedBytes)],
    ['forwarded', formatCount(statistics.forwarded), formatBytes(statistics.forwardedBytes)],
    ...optionalRow(forwardedLate, '  late', 'after the gate had closed, before we knew'),
    ...optionalRow(held, 'held', `${formatBytes(statistics.heldBytes)}, waiting`),
    ['dropped', formatCount(dropped), ''],
    ...dropReasons(statistics).map(
      ([reason, frames]): Row => [`  ${reason}`, formatCount(frames), reasonInWords(reason, statistics)],
    ),
    ...optionalRow(lostAtOutput, 'lost at output', `tx_dropped of ${statistics.outNetdev}, by all senders`),
    ...optionalRow(
      framingErrors,
      'framing errors',
      `connections of ${statistics.indev} that were closed for them`,
    ),
    ...optionalRow(tlsFailures, 'TLS failures', 'connections that came to nothing, or ended so'),
    ...outageRow('input outages', statistics.inputOutages, statistics.inputOutageMs, {
      netdev: statistics.inNetdev,
      stream: statistics.indev,
    }),
    ...outageRow('output outages', statistics.outputOutages, statistics.outputOutageMs, {
      netdev: statistics.outNetdev,
      stream: statistics.outdev,
    }),
    ...optionalRow(statistics.eventsLost, 'events lost', 'not told, because too many came at once'),
  ]
  const nameWidth = Math.max(...rows.map(([name]) => name.length))
  const countWidth = Math.max(...rows.map(([, count]) => count.length))
  const lines = rows.map(([name, count, rest]) => {
    const line = `  ${name.padEnd(nameWidth)}  ${colors.bold(count.padStart(countWidth))}`
    return rest === '' ? line : `${line}  ${colors.dim(rest)}`
  })
  return statistics.lastError === undefined ? lines : [...lines, `  last error: ${statistics.lastError}`]
}

function optionalRow(count: number, name: string, rest: string): Row[] {
  return count > 0 ? [[name, formatCount(count), rest]] : []
}

function outageRow(
  name: string,
  count: number,
  milliseconds: number,
  { netdev, stream }: { netdev: string | undefined; stream: string | undefined },
): Row[] {
  const what =
    netdev === undefined ? `${stream} had no peer` : `${netdev} was down, missing or without a carrier`
  return optionalRow(count, name, `${what} for ${formatDuration(milliseconds)}`)
}

/** A run whose peer has done with it ends within this. */
const END_MS = 20

/** For a run that ended by itself: an outage that began with its end is that end, and none. */
export function withoutFinalOutage(statistics: Statistics): Statistics {
  const { inputOutages, inputOutageMs, outputOutages, outputOutageMs } = statistics
  return {
    ...statistics,
    inputOutages: inputOutages === 1 && inputOutageMs < END_MS ? 0 : inputOutages,
    outputOutages: outputOutages === 1 && outputOutageMs < END_MS ? 0 : outputOutages,
  }
}

/** Why a run that forwarded nothing did so; undefined if it did forward. */
export function nothingForwarded(statistics: Statistics, plan: RunPlan): string | undefined {
  if (statistics.forwarded > 0) return undefined
  const reasons = dropReasons(statistics).map(([reason, frames]) => `${reason} ${formatCount(frames)}`)
  if (reasons.length > 0) return `nothing was forwarded: dropped ${reasons.join(', ')}`
  if (!plan.status) return 'nothing was forwarded: with status=off nothing is captured'
  const { inNetdev, indev, gate, framingErrors, tlsFailures } = statistics
  if (statistics.held > 0) {
    const why = gate === 'closed' ? 'the gate stayed closed' : 'and not released'
    return `nothing was forwarded: ${formatFrames(statistics.held)} held, ${why}`
  }
  if (framingErrors > 0) {
    const count = formatCount(framingErrors)
    return `nothing was forwarded: connections of ${indev} were closed: framing errors ${count}`
  }
  if (tlsFailures > 0) {
    return `nothing was forwarded: TLS failures ${formatCount(tlsFailures)}: see the warnings above`
  }
  const input = inNetdev ?? indev
  if (gate === 'closed') return `nothing was forwarded: the gate is closed, and nothing came in on ${input}`
  const frames = inNetdev === undefined ? 'frames' : QUEUE_IN_WORDS[plan.queue]
  return `nothing was forwarded: no ${frames} came in on ${input}`
}

/** What an interface took and did not deliver, which reads like success otherwise; undefined if nothing. */
export function lostAtOutput({ lostAtOutput: lost, outNetdev }: Statistics): string | undefined {
  if (lost === 0) return undefined
  return (
    `${formatFrames(lost)} sent into ${outNetdev}, by all senders, were lost there: whoever reads them is too slow; ` +
    'a longer queue (txqueuelen) bridges more'
  )
}

/** The ends, for JSON: interfaces by their names, streams by their addresses. */
export function endFields({ inNetdev, indev, outNetdev, outdev }: Statistics): RecordFields {
  return { in_netdev: inNetdev, indev, out_netdev: outNetdev, outdev }
}

/** For JSON: flat, every counter present. */
export function statisticsRecord(statistics: Statistics): RecordFields {
  const byReason = Object.entries(statistics.dropped).map(([reason, frames]) => [`dropped_${reason}`, frames])
  return {
    ...endFields(statistics),
    gate: statistics.gate,
    status: statistics.status ? 'on' : 'off',
    running: statistics.running,
    engine: statistics.engine,
    captured: statistics.captured,
    captured_bytes: statistics.capturedBytes,
    forwarded: statistics.forwarded,
    forwarded_bytes: statistics.forwardedBytes,
    forwarded_late: statistics.forwardedLate,
    held: statistics.held,
    held_bytes: statistics.heldBytes,
    dropped: droppedFrames(statistics),
    ...Object.fromEntries(byReason),
    lost_at_output: statistics.lostAtOutput,
    framing_errors: statistics.framingErrors,
    tls_failures: statistics.tlsFailures,
    input_outages: statistics.inputOutages,
    input_outage_ms: statistics.inputOutageMs,
    output_outages: statistics.outputOutages,
    output_outage_ms: statistics.outputOutageMs,
    events_lost: statistics.eventsLost,
    last_error: statistics.lastError,
  }
}
