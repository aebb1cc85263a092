/** What the client sends to the guest during a migration, and what has become of it. */

import type { Lab, Reply } from '../../test/support/testbed.ts'
import type { Tally, Vm } from '../../test/support/vm.ts'
import { MAC, NIC } from './machine.ts'
import { CLIENT_NIC, GUEST_ADDRESS } from './network.ts'
import type { Traffic } from './variants.ts'

/** The numbered datagrams of one flow. */
export interface Count {
  readonly sent: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
}

export interface Stream {
  readonly bytes: number
  readonly received: number
  readonly retransmissions: number
  readonly longestStallMs: number
}

export interface Counts {
  readonly unicast: Count
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

const FLOWS = { unicast: 0, broadcast: 1 } as const
type FlowName = keyof typeof FLOWS

export class Flows {
  readonly #client: Lab
  readonly #names: readonly FlowName[]
  readonly #stream: Promise<Reply> | undefined

  /** Starts all flows, to a guest that has forgotten what it counted before. */
  static async start(client: Lab, guest: Vm, traffic: Traffic): Promise<Flows> {
    const { rate, size, broadcasts, tcp } = traffic
    await guest.console.ask('clear', 'cleared')
    let stream: Promise<Reply> | undefined
    if (tcp > 0) {
      guest.console.tell(`receive ${STREAM_PORT}`)
      const to = `${GUEST_ADDRESS}:${STREAM_PORT}`
      stream = client.ask('transfer', { to, rate: tcp, milliseconds: STREAM_MS })
      // It is awaited at the end; what fails until then is not to end the process.
      stream.catch(() => {})
    }
    await begin(client, 'unicast', { rate, size, destination: MAC })
    if (broadcasts > 0) await begin(client, 'broadcast', { rate: broadcasts, size: BROADCAST_SIZE })
    return new Flows(client, broadcasts > 0 ? ['unicast', 'broadcast'] : ['unicast'], stream)
  }

  private constructor(client: Lab, names: readonly FlowName[], stream: Promise<Reply> | undefined) {
    this.#client = client
    this.#names = names
    this.#stream = stream
  }

  /** Ends all flows, and asks the guest, wherever it is now, what has arrived. */
  async end(guest: Vm): Promise<Counts> {
    const sent = await Promise.all(
      this.#names.map(async name => {
        const { frames, refused } = await this.#client.ask('send-stop', { name })
        return Number(frames) + Number(refused)
      }),
    )
    const stream = await this.#endStream(guest)
    const [tally] = await guest.received(NIC)
    if (tally === undefined) throw new Error(`the guest has no ${NIC}`)
    const [unicast, broadcast] = this.#names.map((name, index) => count(tally, FLOWS[name], sent[index] ?? 0))
    if (unicast === undefined) throw new Error('nothing was sent')
    const { lostByReader } = tally
    return { unicast, ...(broadcast && { broadcast }), ...(stream && { stream }), lostByReader }
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

async function begin(client: Lab, name: FlowName, fields: object): Promise<void> {
  await client.ask('send-start', { name, netdev: CLIENT_NIC, kind: 'udp', flow: FLOWS[name], ...fields })
}

function count(tally: Tally, flow: number, sent: number): Count {
  const { count = 0, duplicates = 0, outOfOrder = 0 } = tally.flows[flow] ?? {}
  return { sent, lost: sent - (count - duplicates), duplicated: duplicates, reordered: outOfOrder }
}
