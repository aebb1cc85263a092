/** The report of one side, made of what the core has counted. Pure, but for the host's name and the time. */

import { hostname } from 'node:os'
import type { HandoverDestinationReport, HandoverSourceReport } from '../../binding.ts'
import { formatRfc3339, nowNs } from '../../output/format.ts'
import { VERSION } from '../../version.ts'
import type { HandoverNetdev, VmIdentity } from '../vm.ts'
import {
  type DestinationNetdev,
  type DestinationReport,
  type Moment,
  type NetdevOutcome,
  type Outcome,
  REPORT_VERSION,
  type ReportedWarning,
  type SourceNetdev,
  type SourceReport,
} from './shape.ts'

/** What both sides' reports say besides their netdevs. */
export interface Surroundings {
  readonly vm: VmIdentity
  readonly warnings: readonly ReportedWarning[]
}

/** `counted`: in the order of the netdevs. */
export function sourceReport(
  netdevs: readonly HandoverNetdev[],
  counted: readonly HandoverSourceReport[],
  around: Surroundings,
): SourceReport {
  return {
    ...head(counted, around),
    side: 'source',
    netdevs: together(netdevs, counted, sourceNetdev),
  }
}

export function destinationReport(
  netdevs: readonly HandoverNetdev[],
  counted: readonly HandoverDestinationReport[],
  around: Surroundings,
): DestinationReport {
  return {
    ...head(counted, around),
    side: 'destination',
    netdevs: together(netdevs, counted, destinationNetdev),
  }
}

function together<Counted, Result>(
  netdevs: readonly HandoverNetdev[],
  counted: readonly Counted[],
  make: (netdev: HandoverNetdev, counted: Counted) => Result,
): Result[] {
  return netdevs.flatMap((netdev, index) => {
    const own = counted[index]
    return own === undefined ? [] : [make(netdev, own)]
  })
}

/** The first of these that there is. */
const WORST_FIRST: readonly Outcome[] = ['failed', 'cancelled', 'stopped', 'done']

export function worstOutcome(outcomes: readonly NetdevOutcome[]): Outcome {
  // What has not ended when all has ended has failed.
  return WORST_FIRST.find(outcome => outcomes.includes(outcome)) ?? 'failed'
}

function head(counted: readonly { outcome: NetdevOutcome }[], { vm, warnings }: Surroundings) {
  return {
    type: 'handover_report' as const,
    version: REPORT_VERSION,
    tapferry: VERSION,
    host: hostname(),
    time: formatRfc3339(nowNs()),
    vm: { name: vm.name ?? null, uuid: vm.uuid ?? null },
    outcome: worstOutcome(counted.map(({ outcome }) => outcome)),
    warnings: [...warnings],
  } satisfies Omit<SourceReport, 'side' | 'netdevs'>
}

function netdevHead(netdev: HandoverNetdev, counted: HandoverSourceReport | HandoverDestinationReport) {
  const { stoppedNs, resumedNs, timeline } = counted
  return {
    netdev: netdev.id,
    interface: netdev.interface,
    mac: netdev.mac ?? null,
    outcome: counted.outcome,
    reason: counted.reason ?? null,
    states: counted.states.map(({ state, timeNs }) => ({ state, time_ns: String(timeNs) })),
    stopped_ns: moment(stoppedNs),
    resumed_ns: moment(resumedNs),
    downtime_ms: downtimeMs(stoppedNs, resumedNs),
    links_lost: counted.linksLost,
    clock_offset_ms: counted.clockOffsetMs ?? null,
    timeline: {
      slice_ms: timeline.sliceMs,
      slices: timeline.slices.map(({ timeNs, ...rest }) => ({ time_ns: String(timeNs), ...rest })),
    },
  }
}

function sourceNetdev(netdev: HandoverNetdev, counted: HandoverSourceReport): SourceNetdev {
  return {
    ...netdevHead(netdev, counted),
    captured: counted.captured,
    sent: counted.sent,
    acknowledged: counted.acknowledged,
    held: counted.held,
    hold_full: counted.holdFull,
    ring_full: counted.ringFull,
    unsendable: counted.unsendable,
    reflected: counted.reflected,
    no_peer: counted.noPeer,
    discarded: counted.discarded,
    given_back: counted.givenBack,
    give_back_basis: counted.giveBackBasis ?? null,
    cut_method: counted.cutMethod ?? null,
    cut_reason: counted.cutReason ?? null,
    cut_after_ms: counted.cutAfterMs ?? null,
    announced_ns: moment(counted.announcedNs),
    link_delay_ms: counted.linkDelayMs ?? null,
    tap_held: counted.tapHeld,
  }
}

function destinationNetdev(netdev: HandoverNetdev, counted: HandoverDestinationReport): DestinationNetdev {
  return {
    ...netdevHead(netdev, counted),
    received: counted.received,
    injected: counted.injected,
    deduplicated: counted.deduplicated,
    parked: counted.parked,
    parked_most: counted.parkedMost,
    before_cut: counted.beforeCut,
    refused: counted.refused,
    discarded: counted.discarded,
    kept_out: counted.keptOut,
    direct: counted.direct,
    lost_at_tap: counted.lostAtTap,
    gate: counted.gate ?? null,
    opened_ns: moment(counted.openedNs),
    cut_ns: moment(counted.cutNs),
    delay_most_ms: counted.delayMostMs,
    delay_mean_ms: counted.delayMeanMs ?? 0,
  }
}

function moment(timeNs: bigint | undefined): Moment | null {
  return timeNs === undefined ? null : String(timeNs)
}

/** To the microsecond. */
function downtimeMs(stoppedNs: bigint | undefined, resumedNs: bigint | undefined): number | null {
  if (stoppedNs === undefined || resumedNs === undefined || resumedNs < stoppedNs) return null
  return Number((resumedNs - stoppedNs) / 1000n) / 1000
}
