/**
 * The report of one side of a handover, as `--report FILE` writes it and `--json` prints it: schemas/handover.schema.json
 * in TypeScript.
 *
 * Moments are nanoseconds since 1970 by the clock of the host that reports, in decimal digits, because a number of JSON
 * cannot hold them; durations are milliseconds.
 */

import type { GateKind } from '../../binding.ts'

/** Of the shape below. A report of another version is not read. */
export const REPORT_VERSION = 1

export type Side = 'source' | 'destination'

/** How a handover ended, as the core names it; `pending`: it had not when the report was written. */
export type Outcome = 'done' | 'cancelled' | 'failed' | 'stopped'
export type NetdevOutcome = Outcome | 'pending'

/** How the cut was found, the best first. */
export type CutMethod = 'used_ring' | 'used_index' | 'queue_status' | 'tx_packets' | 'timestamp'

/** What told which frames to give back; `unsure`: nothing did, and none were. */
export type GiveBackBasis = 'contents' | 'lengths' | 'counts' | 'unsure'

/** Nanoseconds since 1970, in decimal digits. */
export type Moment = string

export type HandoverReport = SourceReport | DestinationReport

export interface SourceReport extends ReportHead {
  side: 'source'
  netdevs: SourceNetdev[]
}

export interface DestinationReport extends ReportHead {
  side: 'destination'
  netdevs: DestinationNetdev[]
}

interface ReportHead {
  type: 'handover_report'
  version: typeof REPORT_VERSION
  /** tapferry's own version. */
  tapferry: string
  host: string
  /** When it was written: RFC 3339, UTC, nanoseconds. */
  time: string
  vm: { name: string | null; uuid: string | null }
  /** That of the netdev that fared worst. */
  outcome: Outcome
  /** What an operator was warned of meanwhile. */
  warnings: ReportedWarning[]
}

export interface ReportedWarning {
  /** null: about all of them. */
  netdev: string | null
  code: string | null
  time_ns: Moment
  message: string
}

interface NetdevHead {
  /** QEMU's id, or the interface's name where that is not known. */
  netdev: string
  interface: string
  mac: string | null
  outcome: NetdevOutcome
  /** Why, where it is not done. */
  reason: string | null
  states: EnteredState[]
  /** When the VM stopped at the source, and when it ran at the destination. */
  stopped_ns: Moment | null
  resumed_ns: Moment | null
  /** From the one to the other. */
  downtime_ms: number | null
  links_lost: number
  /** The other side's clock minus this one's. */
  clock_offset_ms: number | null
  timeline: Timeline
}

export interface EnteredState {
  state: string
  time_ns: Moment
}

export interface Timeline {
  slice_ms: number
  /** In order of time; those in which nothing happened are left out. */
  slices: Slice[]
}

/** Frames in one slice of time. */
export interface Slice {
  /** Its beginning. */
  time_ns: Moment
  /** Source: captured. Destination: come from the source. */
  came: number
  /** Source: sent. Destination: injected. */
  went: number
  /** Destination: reached the TAP by themselves. */
  direct: number
  /** Destination: dropped, because they had. */
  deduplicated: number
}

/** From the cut on, `captured = sent + held + hold_full + ring_full + unsendable + reflected + no_peer + discarded`. */
export interface SourceNetdev extends NetdevHead {
  captured: number
  sent: number
  acknowledged: number
  held: number
  hold_full: number
  ring_full: number
  unsendable: number
  reflected: number
  no_peer: number
  discarded: number
  given_back: number
  give_back_basis: GiveBackBasis | null
  cut_method: CutMethod | null
  cut_reason: string | null
  cut_after_ms: number | null
  /** When the guest's announcement of its new place (RARP) first came back to this host. */
  announced_ns: Moment | null
  link_delay_ms: number | null
  tap_held: boolean
}

/** `received = injected + deduplicated + parked + before_cut + refused + discarded`. */
export interface DestinationNetdev extends NetdevHead {
  received: number
  injected: number
  deduplicated: number
  parked: number
  parked_most: number
  before_cut: number
  refused: number
  discarded: number
  kept_out: number
  direct: number
  lost_at_tap: number
  gate: GateKind | null
  opened_ns: Moment | null
  cut_ns: Moment | null
  /** How long a frame was on its way because of the handover; 0 where none was injected. */
  delay_most_ms: number
  delay_mean_ms: number
}
