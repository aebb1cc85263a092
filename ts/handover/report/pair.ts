/** The reports of the two sides of one migration, and which netdev of the one is which of the other. */

import { TapferryError } from '../../errors.ts'
import type {
  DestinationNetdev,
  DestinationReport,
  HandoverReport,
  SourceNetdev,
  SourceReport,
} from './shape.ts'

/** One of the two may be missing. */
export interface Pair {
  source: SourceReport | undefined
  destination: DestinationReport | undefined
  netdevs: NetdevPair[]
}

/** A netdev as either side tells of it. */
export interface NetdevPair {
  name: string
  source: SourceNetdev | undefined
  destination: DestinationNetdev | undefined
}

export interface ReadReport {
  file: string
  report: HandoverReport
}

/** Stops of one migration that are further apart than this, by one clock, are two migrations. */
const SAME_STOP_MS = 10_000

/** Which is which is told by their `side`. */
export function pairOf(read: readonly ReadReport[]): Pair {
  const [first, second] = read
  if (first !== undefined && second !== undefined) checkThatTheyBelongTogether(first, second)
  const reports = read.map(({ report }) => report)
  const source = reports.find(report => report.side === 'source')
  const destination = reports.find(report => report.side === 'destination')
  return { source, destination, netdevs: netdevPairs(source?.netdevs ?? [], destination?.netdevs ?? []) }
}

function checkThatTheyBelongTogether(first: ReadReport, second: ReadReport): void {
  const files = `'${first.file}' and '${second.file}'`
  const mismatch = (why: string) =>
    new TapferryError(
      'REPORT_MISMATCH',
      `${files} ${why}`,
      'give the reports of both sides of one migration, or one of them alone',
    )
  const [one, other] = [first.report, second.report]
  if (one.side === other.side) throw mismatch(`are both of a ${one.side}`)
  // A VM may have another name on each host; the handover itself went by UUID and MAC address.
  const [oneUuid, otherUuid] = [one.vm.uuid, other.vm.uuid]
  if (oneUuid !== null && otherUuid !== null && oneUuid !== otherUuid) {
    throw mismatch(`are of two VMs: ${oneUuid} and ${otherUuid}`)
  }
  const source = one.side === 'source' ? one : other.side === 'source' ? other : undefined
  const destination = one.side === 'destination' ? one : other.side === 'destination' ? other : undefined
  const pairs = netdevPairs(source?.netdevs ?? [], destination?.netdevs ?? [])
  if (!pairs.some(pair => pair.source && pair.destination)) throw mismatch('have no netdev in common')
  const apart = pairs.map(stopsApartMs).find(milliseconds => milliseconds > SAME_STOP_MS)
  if (apart !== undefined) {
    throw mismatch(`are of two migrations: their stops are ${Math.round(apart / 1000)} s apart`)
  }
}

/** As the two sides say who they are: by the MAC address, where it is known, else by id. */
function netdevPairs(
  sources: readonly SourceNetdev[],
  destinations: readonly DestinationNetdev[],
): NetdevPair[] {
  const left = new Set(destinations)
  const pairs = sources.map((source): NetdevPair => {
    const destination =
      [...left].find(({ mac }) => mac !== null && mac === source.mac) ??
      [...left].find(({ mac, netdev }) => (mac === null || source.mac === null) && netdev === source.netdev)
    if (destination !== undefined) left.delete(destination)
    return { name: source.netdev, source, destination }
  })
  return [
    ...pairs,
    ...[...left].map(destination => ({ name: destination.netdev, source: undefined, destination })),
  ]
}

/** By the source's clock; 0 where it cannot be told. */
function stopsApartMs({ source, destination }: NetdevPair): number {
  const offset = clockOffsetMs({ source, destination })
  if (offset === undefined || !source?.stopped_ns || !destination?.stopped_ns) return 0
  const milliseconds = Number(BigInt(destination.stopped_ns) - BigInt(source.stopped_ns)) / 1e6
  return Math.abs(milliseconds - offset)
}

/** The destination's clock minus the source's, as far as one of them knows it. */
export function clockOffsetMs({
  source,
  destination,
}: Pick<NetdevPair, 'source' | 'destination'>): number | undefined {
  if (typeof source?.clock_offset_ms === 'number') return source.clock_offset_ms
  if (typeof destination?.clock_offset_ms === 'number') return -destination.clock_offset_ms
  return undefined
}
