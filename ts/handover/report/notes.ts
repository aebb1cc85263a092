/** What an operator should know beside the verdict: what was warned of meanwhile, and what the figures give away. Pure. */

import { formatCount } from '../../output/format.ts'
import { type Axis, inWords, relative } from './axis.ts'
import { destinationBalance, sourceBalance } from './balance.ts'
import { cutDoubt } from './cut.ts'
import { clockOffsetMs, type NetdevPair, type Pair } from './pair.ts'
import type { DestinationNetdev, HandoverReport, SourceNetdev } from './shape.ts'
import { lateBy } from './verdict.ts'

export interface Note {
  /** Which netdev or host. */
  about: string
  text: string
}

export function notesOf(pair: Pair, axes: ReadonlyMap<NetdevPair, Axis>): Note[] {
  return [
    ...missingSide(pair),
    ...pair.netdevs.flatMap(netdev => netdevNotes(netdev, pair).map(text => ({ about: netdev.name, text }))),
    ...[pair.source, pair.destination].flatMap(report => (report ? warnings(report, pair, axes) : [])),
  ]
}

function missingSide({ source, destination }: Pair): Note[] {
  const missing = source === undefined ? 'source' : destination === undefined ? 'destination' : undefined
  if (missing === undefined) return []
  return [{ about: 'this page', text: `it shows one side only: the report of the ${missing} is missing` }]
}

function netdevNotes(netdev: NetdevPair, pair: Pair): string[] {
  const { source, destination } = netdev
  const late = lateBy(netdev)
  return [
    ...(source && destination && clockOffsetMs(netdev) === undefined
      ? ['how far the two clocks are apart is not known: the two hosts may be shifted against each other']
      : []),
    ...(pair.source && !source ? ['the source does not report on it'] : []),
    ...(pair.destination && !destination ? ['the destination does not report on it'] : []),
    ...(late === undefined
      ? []
      : [`frames were injected ${inWords(late)} after the VM ran: later ones may have overtaken them`]),
    ...(source ? sourceNotes(source) : []),
    ...(destination ? destinationNotes(destination) : []),
  ]
}

function sourceNotes(source: SourceNetdev): string[] {
  const doubt = cutDoubt(source)
  const { came, accountedFor } = sourceBalance(source)
  return [
    ...(doubt === undefined ? [] : [`the cut is not exact: ${doubt}`]),
    ...(!source.tap_held && source.stopped_ns !== null
      ? [
          'the TAP was not held open: had QEMU quit, frames that came after that would have been lost uncounted',
        ]
      : []),
    ...lostLinks(source, 'destination'),
    ...(came === accountedFor
      ? []
      : [`the source's counters do not add up: ${came} captured, ${accountedFor} accounted for`]),
  ]
}

function destinationNotes(destination: DestinationNetdev): string[] {
  const { came, accountedFor } = destinationBalance(destination)
  return [
    ...(destination.gate === null
      ? [
          'there was no gate: what the network flooded to the destination meanwhile may have reached the guest twice',
        ]
      : []),
    ...lostLinks(destination, 'source'),
    ...(came === accountedFor
      ? []
      : [`the destination's counters do not add up: ${came} received, ${accountedFor} accounted for`]),
  ]
}

function lostLinks({ links_lost: lost }: { links_lost: number }, other: string): string[] {
  if (lost === 0) return []
  return [`the link to the ${other} was lost ${lost === 1 ? 'once' : `${formatCount(lost)} times`}`]
}

function warnings(report: HandoverReport, pair: Pair, axes: ReadonlyMap<NetdevPair, Axis>): Note[] {
  return report.warnings.map(({ netdev, message, time_ns }) => {
    const owner = pair.netdevs.find(candidate => candidate[report.side]?.netdev === netdev) ?? pair.netdevs[0]
    const axis = owner && axes.get(owner)
    const when = axis === undefined ? '' : ` (${relative(axis.of(report.side, time_ns))})`
    return { about: `${report.host}${netdev === null ? '' : `, ${netdev}`}`, text: `${message}${when}` }
  })
}
