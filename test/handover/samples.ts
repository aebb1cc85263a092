/** Reports of handovers as they really go: a stop, a cut 0.1 ms later, 2000 frames a second until the VM runs. */

import type {
  DestinationNetdev,
  DestinationReport,
  SourceNetdev,
  SourceReport,
  Timeline,
} from '../../ts/handover/report/shape.ts'

const SLICE_NS = 5_000_000n

/** When the VM stopped, by the source's clock. */
const STOP_NS = 1_763_838_187_123_456_789n

/** The destination's clock is this much ahead, unless a sample says otherwise. */
const CLOCK_OFFSET_MS = 3.412

const VM = { name: 'web-7', uuid: '6c0f6a52-3f0e-4f0a-9b4e-2f7d1c9a8e11' }

/** How a handover went, in milliseconds after the stop. */
export interface Course {
  framesASecond?: number
  cutAfter?: number
  openedAfter?: number
  resumedAfter?: number
  endAfter?: number
  /** The source's last frames come until then, because the switch has not learned yet. */
  relearnedAfter?: number
  linkDelay?: number
  clockOffset?: number
}

const USUAL: Required<Course> = {
  framesASecond: 2000,
  cutAfter: 0.114,
  openedAfter: 9.6,
  resumedAfter: 352.4,
  endAfter: 1104,
  relearnedAfter: 355.2,
  linkDelay: 0.212,
  clockOffset: CLOCK_OFFSET_MS,
}

const ns = (milliseconds: number): bigint => BigInt(Math.round(milliseconds * 1e6))

/** A moment so many milliseconds after the stop, by the source's clock. */
const atSource = (milliseconds: number): string => String(STOP_NS + ns(milliseconds))

/** The same by the destination's. */
const atDestination = (milliseconds: number, offset = CLOCK_OFFSET_MS): string =>
  String(STOP_NS + ns(milliseconds + offset))

type Counts = Partial<Record<'came' | 'went' | 'direct' | 'deduplicated', number>>

/** A timeline that is filled frame by frame. */
class Slices {
  readonly #slices = new Map<bigint, Counts>()

  count(time: string, what: keyof Counts, frames = 1): void {
    const number = BigInt(time) / SLICE_NS
    const slice = this.#slices.get(number) ?? {}
    slice[what] = (slice[what] ?? 0) + frames
    this.#slices.set(number, slice)
  }

  done(): Timeline {
    const inOrder = [...this.#slices].sort(([a], [b]) => Number(a - b))
    const slices = inOrder.map(([number, { came = 0, went = 0, direct = 0, deduplicated = 0 }]) => {
      return { time_ns: String(number * SLICE_NS), came, went, direct, deduplicated }
    })
    return { slice_ms: 5, slices }
  }
}

/** The moments at which frames come, never quite as regular as they were sent. */
function* arrivals(from: number, to: number, framesASecond: number): Generator<number> {
  const gap = 1000 / framesASecond
  for (let index = 0, at = from; at < to; index += 1) {
    yield at
    at += gap * (0.35 + 1.3 * (((index * 7919) % 101) / 101))
  }
}

/** A source netdev from whose cut on all frames were handed over. */
export function sourceNetdev(course: Course = {}, changes: Partial<SourceNetdev> = {}): SourceNetdev {
  const { framesASecond, cutAfter, resumedAfter, relearnedAfter, endAfter, linkDelay, clockOffset } = {
    ...USUAL,
    ...course,
  }
  const timeline = new Slices()
  let captured = 0
  for (const at of arrivals(-0.4, relearnedAfter, framesASecond)) {
    timeline.count(atSource(at), 'came')
    timeline.count(atSource(Math.max(at, cutAfter) + 0.1), 'went')
    captured += 1
  }
  return {
    netdev: 'hn0',
    interface: 'tap-web7',
    mac: '52:54:00:7a:10:07',
    outcome: 'done',
    reason: null,
    states: [
      { state: 'armed', time_ns: atSource(-412_000) },
      { state: 'calibrate', time_ns: atSource(-8_214) },
      { state: 'stopping', time_ns: atSource(0.09) },
      { state: 'forward', time_ns: atSource(cutAfter) },
      { state: 'drain', time_ns: atSource(resumedAfter + 0.4) },
      { state: 'done', time_ns: atSource(endAfter) },
    ],
    captured,
    sent: captured,
    acknowledged: captured,
    held: 0,
    hold_full: 0,
    ring_full: 0,
    unsendable: 0,
    reflected: 0,
    no_peer: 0,
    discarded: 0,
    given_back: 0,
    give_back_basis: null,
    cut_method: 'used_ring',
    cut_reason: null,
    cut_after_ms: cutAfter,
    announced_ns: atSource(resumedAfter + 1.5),
    stopped_ns: atSource(0),
    resumed_ns: atSource(resumedAfter),
    downtime_ms: resumedAfter,
    links_lost: 0,
    link_delay_ms: linkDelay,
    clock_offset_ms: clockOffset,
    tap_held: true,
    timeline: timeline.done(),
    ...changes,
  }
}

/** The destination netdev that belongs to it: all was injected. */
export function destinationNetdev(
  course: Course = {},
  changes: Partial<DestinationNetdev> = {},
): DestinationNetdev {
  const {
    framesASecond,
    cutAfter,
    openedAfter,
    resumedAfter,
    relearnedAfter,
    endAfter,
    linkDelay,
    clockOffset,
  } = { ...USUAL, ...course }
  const at = (milliseconds: number): string => atDestination(milliseconds, clockOffset)
  const timeline = new Slices()
  let [received, parked] = [0, 0]
  for (const came of arrivals(-0.4, relearnedAfter, framesASecond)) {
    const arrived = Math.max(came, cutAfter) + linkDelay + 0.2
    timeline.count(at(arrived), 'came')
    timeline.count(at(Math.max(arrived + 0.05, openedAfter)), 'went')
    received += 1
    if (arrived < openedAfter) parked += 1
  }
  let direct = 0
  for (const came of arrivals(relearnedAfter, endAfter, framesASecond)) {
    timeline.count(at(came), 'direct')
    direct += 1
  }
  return {
    netdev: 'hn0',
    interface: 'tap-web7',
    mac: '52:54:00:7a:10:07',
    outcome: 'done',
    reason: null,
    states: [
      { state: 'gated', time_ns: at(-95_020) },
      { state: 'parked', time_ns: at(linkDelay + 0.2) },
      { state: 'injecting', time_ns: at(openedAfter - 1.1) },
      { state: 'passing', time_ns: at(openedAfter) },
      { state: 'done', time_ns: at(endAfter + linkDelay) },
    ],
    received,
    injected: received,
    deduplicated: 0,
    parked: 0,
    parked_most: parked,
    before_cut: 0,
    refused: 0,
    discarded: 0,
    kept_out: 46,
    direct,
    lost_at_tap: 0,
    gate: 'tcx',
    opened_ns: at(openedAfter),
    stopped_ns: at(0),
    cut_ns: at(cutAfter + linkDelay + 0.3),
    resumed_ns: at(resumedAfter),
    downtime_ms: resumedAfter,
    delay_most_ms: 10.3,
    delay_mean_ms: 0.84,
    links_lost: 0,
    clock_offset_ms: -clockOffset,
    timeline: timeline.done(),
    ...changes,
  }
}

export function sourceReport(netdevs: SourceNetdev[], changes: Partial<SourceReport> = {}): SourceReport {
  return {
    type: 'handover_report',
    version: 1,
    side: 'source',
    tapferry: '0.1.0',
    host: 'hv-03',
    time: '2025-11-22T19:03:08.300000000Z',
    vm: VM,
    outcome: 'done',
    warnings: [],
    netdevs,
    ...changes,
  }
}

export function destinationReport(
  netdevs: DestinationNetdev[],
  changes: Partial<DestinationReport> = {},
): DestinationReport {
  return {
    type: 'handover_report',
    version: 1,
    side: 'destination',
    tapferry: '0.1.0',
    host: 'hv-11',
    time: '2025-11-22T19:03:08.310000000Z',
    vm: VM,
    outcome: 'done',
    warnings: [],
    netdevs,
    ...changes,
  }
}

export interface Sample {
  source?: SourceReport
  destination?: DestinationReport
}

const nothing = { came: 0, went: 0, direct: 0, deduplicated: 0 }

/** A migration that was cancelled 240 ms after the stop: the guest keeps all of it at the source. */
function cancelled(): Sample {
  const course = { relearnedAfter: 240.2, resumedAfter: 240.2, endAfter: 391 }
  const source = sourceNetdev(course)
  const destination = destinationNetdev(course)
  const reason = 'the VM runs on at the source: its migration was cancelled'
  const end = { outcome: 'cancelled', reason, resumed_ns: null, downtime_ms: null } as const
  const { slices } = destination.timeline
  return {
    source: sourceReport(
      [
        {
          ...source,
          ...end,
          states: [...source.states.slice(0, 4), { state: 'cancelled', time_ns: atSource(240.3) }],
          announced_ns: null,
          given_back: 1,
          give_back_basis: 'contents',
        },
      ],
      { outcome: 'cancelled' },
    ),
    destination: destinationReport(
      [
        {
          ...destination,
          ...end,
          states: [...destination.states.slice(0, 2), { state: 'discarded', time_ns: atDestination(240.8) }],
          injected: 0,
          discarded: destination.received,
          parked_most: destination.received,
          direct: 0,
          delay_most_ms: 0,
          delay_mean_ms: 0,
          opened_ns: null,
          timeline: {
            slice_ms: 5,
            slices: slices
              .filter(({ came }) => came > 0)
              .map(({ time_ns, came }) => ({ ...nothing, time_ns, came })),
          },
        },
      ],
      { outcome: 'cancelled' },
    ),
  }
}

/** A link that broke for good in the middle, with a hold that was too small. */
function failed(): Sample {
  const course = { relearnedAfter: 700, resumedAfter: 702, endAfter: 60_000 }
  const source = sourceNetdev(course)
  const destination = destinationNetdev(course)
  const cutOff = 402
  const before = ({ time_ns }: { time_ns: string }, moment: string) => BigInt(time_ns) < BigInt(moment)
  const sent = source.timeline.slices
    .filter(slice => before(slice, atSource(cutOff)))
    .reduce((sum, { went }) => sum + went, 0)
  const left = source.captured - sent
  const warning = {
    netdev: 'hn0',
    code: 'RETURN_LATE',
    message: 'the link to tcp:10.0.0.11:7070 is lost: Connection reset by peer',
  }
  return {
    source: sourceReport(
      [
        {
          ...source,
          outcome: 'failed',
          reason: 'the destination did not come back within 60 s of the stop',
          states: [...source.states.slice(0, 4), { state: 'failed', time_ns: atSource(60_000) }],
          sent,
          acknowledged: sent - 4,
          hold_full: left - 512,
          no_peer: 512,
          links_lost: 1,
          resumed_ns: null,
          announced_ns: null,
          downtime_ms: null,
          timeline: {
            slice_ms: 5,
            slices: source.timeline.slices.map(slice =>
              before(slice, atSource(cutOff)) ? slice : { ...slice, went: 0 },
            ),
          },
        },
      ],
      { outcome: 'failed', warnings: [{ ...warning, time_ns: atSource(cutOff) }] },
    ),
    destination: destinationReport(
      [
        {
          ...destination,
          outcome: 'failed',
          reason: 'the source was not heard of again for 60 s after its link was lost',
          states: [...destination.states.slice(0, 4), { state: 'failed', time_ns: atDestination(60_402) }],
          received: sent - 4,
          injected: sent - 5,
          refused: 1,
          lost_at_tap: 0,
          links_lost: 1,
          timeline: {
            slice_ms: 5,
            slices: destination.timeline.slices
              .filter(slice => BigInt(slice.time_ns) < BigInt(atDestination(2_000)))
              .map(slice => (before(slice, atDestination(cutOff)) ? slice : { ...slice, came: 0, went: 0 })),
          },
        },
      ],
      { outcome: 'failed' },
    ),
  }
}

/** Broadcasts, one second of downtime, and a cut that only the monitor could tell, after the guest ran. */
function late(): Sample {
  const course = { cutAfter: 284.6, openedAfter: 318.2, resumedAfter: 311.5, relearnedAfter: 316.9 }
  return {
    source: sourceReport([
      sourceNetdev(course, {
        cut_method: 'used_index',
        cut_reason: "the process's memory may not be read: CAP_SYS_PTRACE is missing",
        tap_held: false,
      }),
    ]),
    destination: destinationReport([
      destinationNetdev(course, { delay_most_ms: 318.5, delay_mean_ms: 158.9 }),
    ]),
  }
}

const second = { netdev: 'hn1', interface: 'tap-web7b', mac: '52:54:00:7a:10:08' }
const slow: Course = { framesASecond: 240, cutAfter: 0.31, openedAfter: 14.2, relearnedAfter: 361 }

/** By name, each as a whole. */
export const SAMPLES: Readonly<Record<string, Sample>> = {
  done: { source: sourceReport([sourceNetdev()]), destination: destinationReport([destinationNetdev()]) },
  cancelled: cancelled(),
  failed: failed(),
  late: late(),
  'source only': { source: sourceReport([sourceNetdev()]) },
  'destination only': { destination: destinationReport([destinationNetdev()]) },
  'two netdevs': {
    source: sourceReport([sourceNetdev(), sourceNetdev(slow, second)]),
    destination: destinationReport([
      destinationNetdev(),
      destinationNetdev(slow, { ...second, deduplicated: 3, injected: destinationNetdev(slow).received - 3 }),
    ]),
  },
  'no gate': {
    source: sourceReport([
      sourceNetdev(
        {},
        { cut_method: 'timestamp', cut_reason: 'tx_packets could not be read beside the capture' },
      ),
    ]),
    destination: destinationReport([destinationNetdev({}, { gate: null, opened_ns: null, kept_out: 0 })], {
      warnings: [
        {
          netdev: 'hn0',
          code: 'NO_GATE',
          time_ns: atDestination(-95_020),
          message: 'no gate before tap-web7: CAP_NET_ADMIN is missing; broadcasts may come twice',
        },
      ],
    }),
  },
  stopped: {
    source: sourceReport(
      [
        sourceNetdev(
          {},
          {
            outcome: 'stopped',
            reason: 'it was told to stop before a migration came',
            states: [
              { state: 'armed', time_ns: atSource(-412_000) },
              { state: 'stopped', time_ns: atSource(-2_000) },
            ],
            captured: 0,
            sent: 0,
            acknowledged: 0,
            cut_method: null,
            cut_after_ms: null,
            announced_ns: null,
            stopped_ns: null,
            resumed_ns: null,
            downtime_ms: null,
            tap_held: false,
            timeline: { slice_ms: 5, slices: [] },
          },
        ),
      ],
      { outcome: 'stopped' },
    ),
  },
}
