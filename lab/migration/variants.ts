/** What a migration can be like: each variant names how it differs from the plain one. */

import { KILLS } from './kills.ts'

/** Flows of numbered datagrams to the guest, and what else there is. */
export interface Traffic {
  /** Unicast datagrams a second. */
  readonly rate: number
  /** Bytes of each frame, from its Ethernet header on. */
  readonly size: number
  /** Broadcast datagrams a second, as a flow of their own. */
  readonly broadcasts: number
  /** Bytes a second over TCP from the client's own network stack; 0 is none, Infinity as many as there is room for. */
  readonly tcp: number
}

/** Properties of both VMs: without them there is no migration between the two. */
export interface Machine {
  /** More properties of the NIC. */
  readonly nic?: string
  readonly vnetHdr?: boolean
  readonly queues?: number
  /** Each with a netdev of its own; frames come to all of them. */
  readonly nics?: number
}

/** How a migration goes on or ends. */
export interface Course {
  /** What becomes of the source when the migration is complete. */
  readonly source: 'stays' | 'quits' | 'is killed'
  /** Cancelled while the source is stopped before the switchover: it goes on. */
  readonly cancelled: boolean
  /** Postcopy: the guest runs at the destination before most of its memory is there. */
  readonly postcopy: boolean
  /** Paused in the midst of it, and continued: the migration goes on. */
  readonly paused: boolean
  /** tapferry on the destination starts when the migration has begun, and not before. */
  readonly lateDestination: boolean
  /** Every processor has a busy loop of its own. */
  readonly starved: boolean
  /** One of the two tapferrys is killed with signal 9, each migration at another moment: kills.ts. */
  readonly killed: boolean
  /** Both tapferrys may open packet sockets, and nothing else. */
  readonly unprivileged: boolean
  /** Both tapferrys speak TLS. */
  readonly encrypted: boolean
}

export interface Variant {
  readonly name: string
  readonly traffic: Traffic
  readonly machine: Machine
  readonly course: Course
  /** How long the guest stands still, about, in ms. */
  readonly downtimeMs: number
  /** How often, where nobody says. */
  readonly migrations: number
}

const PLAIN: Omit<Variant, 'name'> = {
  traffic: { rate: 2_000, size: 60, broadcasts: 0, tcp: 0 },
  machine: {},
  course: {
    ...{
      source: 'stays',
      cancelled: false,
      postcopy: false,
      paused: false,
      lateDestination: false,
      starved: false,
    },
    ...{ killed: false, unprivileged: false, encrypted: false },
  },
  downtimeMs: 350,
  migrations: 3,
}

interface Difference {
  readonly traffic?: Partial<Traffic>
  readonly machine?: Machine
  readonly course?: Partial<Course>
  readonly downtimeMs?: number
  readonly migrations?: number
}

const DIFFERENCES: Readonly<Record<string, Difference>> = {
  basic: {},
  fast: { traffic: { rate: 10_000 } },
  large: { traffic: { size: 1_442 } },
  broadcast: { traffic: { broadcasts: 200 } },
  tcp: { traffic: { tcp: 12_000_000 } },
  // Few datagrams, so that they are no burden to the stream.
  'tcp-unlimited': { traffic: { tcp: Number.POSITIVE_INFINITY, rate: 200 } },
  'long-downtime': { downtimeMs: 1_500 },
  'source-quits': { course: { source: 'quits' } },
  'source-killed': { course: { source: 'is killed' } },
  cancel: { course: { cancelled: true } },
  postcopy: { course: { postcopy: true } },
  paused: { course: { paused: true } },
  legacy: { machine: { nic: 'disable-modern=on,disable-legacy=off' } },
  packed: { machine: { nic: 'packed=on' } },
  'vnet-hdr-off': { machine: { vnetHdr: false } },
  multiqueue: { machine: { queues: 2 } },
  'two-nics': { machine: { nics: 2 } },
  'late-dest': { course: { lateDestination: true } },
  starved: { course: { starved: true } },
  unprivileged: { traffic: { broadcasts: 200 }, course: { unprivileged: true } },
  encrypted: { course: { encrypted: true } },
  killed: { course: { killed: true }, migrations: KILLS.length },
}

export const VARIANTS: readonly string[] = Object.keys(DIFFERENCES)

/** The variant of that name, or undefined when there is none. */
export function variant(name: string): Variant | undefined {
  const difference = DIFFERENCES[name]
  if (difference === undefined) return undefined
  const { traffic, machine, course, downtimeMs, migrations } = difference
  return {
    name,
    traffic: { ...PLAIN.traffic, ...traffic },
    machine: { ...PLAIN.machine, ...machine },
    course: { ...PLAIN.course, ...course },
    downtimeMs: downtimeMs ?? PLAIN.downtimeMs,
    migrations: migrations ?? PLAIN.migrations,
  }
}
