/** What the client sends to the guest during a migration, and what has become of it. */

import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Lab, Reply } from '../../test/support/testbed.ts'
import type { Tally, Vm } from '../../test/support/vm.ts'
import { type Count, count, type Sent, type Window } from './count.ts'
import { NICS } from './machine.ts'
import { CLIENT_NIC, GUEST_ADDRESSES } from './network.ts'
import type { Variant } from './variants.ts'

export interface Stream {
  readonly bytes: number
  readonly received: number
  readonly retransmissions: number
  readonly longestStallMs: number
}

export interface Counts {
  readonly unicast: Count
  /** The second NIC's. */
  readonly second?: Count
  /** At the first NIC. */
  readonly broadcast?: Count
  readonly stream?: Stream
  /** Frames that the guest has received and not counted: the rest says nothing then. */
  readonly lostByReader: number
}

const STREAM_PORT = 5_001
/** Longer than a migration with what comes before and after it. */
const STREAM_MS = 7_000
/** The sizes of its frames are the stream's own affair; a broadcast is as short as an announcement. */
const BROADCAST_SIZE = 60

/** Nothing has come for so long: then nothing more will. */
const QUIET_MS = 500
const SETTLE_MS = 30_000

const [FIRST, SECOND] = NICS

/** Each series of numbers, and the NIC that counts it. */
const FLOWS = {
  unicast: { flow: 0, nic: FIRST.nic },
  broadcast: { flow: 1, nic: FIRST.nic },
  second: { flow: 2, nic: SECOND.nic },
} as const
type FlowName = keyof typeof FLOWS

export class Flows {
  readonly #client: Lab
  /** With their rates. */
  readonly #flows: ReadonlyMap<FlowName, number>
  readonly #stream: Promise<Reply> | undefined

  /** Starts all flows, to a guest that has forgotten what it counted before. */
  static async start(client: Lab, guest: Vm, { traffic, machine }: Variant): Promise<Flows> {
    const { rate, size, broadcasts, tcp } = traffic
    await guest.console.ask('clear', 'cleared')
    let stream: Promise<Reply> | undefined
    if (tcp > 0) {
      guest.console.tell(`receive ${STREAM_PORT}`)
      const to = `${GUEST_ADDRESSES[0]}:${STREAM_PORT}`
      const limit = Number.isFinite(tcp) ? { rate: tcp } : {}
      stream = client.ask('transfer', { to, ...limit, milliseconds: STREAM_MS })
      // It is awaited at the end; what fails until then is not to end the process.
      stream.catch(() => {})
    }
    const rates = new Map<FlowName, number>([['unicast', rate]])
    await begin(client, 'unicast', { rate, size, destination: FIRST.mac })
    if (machine.nics === 2) {
      rates.set('second', rate)
      await begin(client, 'second', { rate, size, destination: SECOND.mac })
    }
    if (broadcasts > 0) {
      rates.set('broadcast', broadcasts)
      await begin(client, 'broadcast', { rate: broadcasts, size: BROADCAST_SIZE })
    }
    return new Flows(client, rates, stream)
  }

  private constructor(client: Lab, flows: ReadonlyMap<FlowName, number>, stream: Promise<Reply> | undefined) {
    this.#client = client
    this.#flows = flows
    this.#stream = stream
  }

  /** Ends all flows, and asks the guest, wherever it is now, what has arrived. */
  async end(guest: Vm, window: Window): Promise<Counts> {
    const sent = await Promise.all([...this.#flows].map(([name, rate]) => this.#stop(name, rate)))
    const stream = await this.#endStream(guest)
    const nics = [...new Set([...this.#flows.keys()].map(name => FLOWS[name].nic))]
    const tallies = await settled(guest, nics)
    const counts = sent.map(({ name, ...flow }): [FlowName, Count] => {
      const { nic, flow: series } = FLOWS[name]
      return [name, count(tallies[nics.indexOf(nic)]?.flows[series], flow, window)]
    })
    const { unicast, ...others } = Object.fromEntries(counts) as Partial<Record<FlowName, Count>>
    if (unicast === undefined) throw new Error('nothing was sent')
    const lostByReader = tallies.reduce((sum, tally) => sum + tally.lostByReader, 0)
    return { unicast, ...others, ...(stream && { stream }), lostByReader }
  }

  async #stop(name: FlowName, rate: number): Promise<Sent & { name: FlowName }> {
    const { frames, refused, firstNs, lastNs } = await this.#client.ask('send-stop', { name })
    const sent = Number(frames) + Number(refused)
    return { name, rate, sent, firstNs: BigInt(String(firstNs)), lastNs: BigInt(String(lastNs)) }
  }

  async #endStream(guest: Vm): Promise<Stream | undefined> {
    if (this.#stream === undefined) return undefined
    const [arrived, sent] = await Promise.all([guest.console.answer('received'), this.#stream])
    return {
      bytes: Number(sent['bytes']),
      received: Number(arrived['bytes']),
      retransmissions: Number(sent['retransmissions']),
      longestStallMs: Number(sent['longestStallMs']),
    }
  }
}

/**
 * What the guest has counted when nothing more comes. A last frame would not tell: where the guest is too slow for
 * its queue, that one is lost, too.
 */
async function settled(guest: Vm, nics: readonly string[]): Promise<Tally[]> {
  let before: Tally[] | undefined
  for (let waitedMs = 0; waitedMs < SETTLE_MS; waitedMs += QUIET_MS) {
    const tallies = await guest.reports(nics, () => true)
    if (isDeepStrictEqual(tallies, before)) return tallies
    before = tallies
    await sleep(QUIET_MS)
  }
  throw new Error(`frames still came to the guest ${SETTLE_MS / 1000} s after the last one was sent`)
}

async function begin(client: Lab, name: FlowName, fields: object): Promise<void> {
  await client.ask('send-start', { name, netdev: CLIENT_NIC, kind: 'udp', flow: FLOWS[name].flow, ...fields })
}
