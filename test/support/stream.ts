/**
 * The other ends of tapferry's streams: a peer in the test, which sees every byte, and QEMU's filters, which are
 * plugged into a VM that runs and are gone after the test.
 */

import { once } from 'node:events'
import { createConnection, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Vm } from './vm.ts'

const WAIT_MS = 15_000
/** Between two looks at a condition. */
const POLL_MS = 5

/** Waits for a condition; `what` names it in a failure. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: () => string,
  timeoutMs = WAIT_MS,
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`time is over before ${what()}`)
    await sleep(POLL_MS)
  }
}

export interface Wire {
  /** vnet_hdr_support: the length of the virtio-net header has a field of its own. */
  readonly announced?: boolean
  /** The virtio-net header, which is there or not whatever vnet_hdr_support says. */
  readonly header?: Buffer
}

/** A frame as it is on the wire. */
export function record(frame: Buffer, { announced = false, header = Buffer.alloc(0) }: Wire = {}): Buffer {
  const fields = announced ? [header.length + frame.length, header.length] : [frame.length + header.length]
  return Buffer.concat([...fields.map(field), header, frame])
}

/** A length, as QEMU writes it. */
export function field(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const ETHERNET = Buffer.from('ffffffffffff02544600000188b6', 'hex')

/** A numbered frame, as the lab sends it: crates/testbed/src/probe.rs. */
export function probe(flow: number, number: number, size = 60): Buffer {
  const frame = Buffer.alloc(size)
  ETHERNET.copy(frame)
  frame.write('TFRY', ETHERNET.length)
  frame.writeUInt32BE(flow, ETHERNET.length + 4)
  frame.writeBigUInt64BE(BigInt(number), ETHERNET.length + 8)
  const padding = ETHERNET.length + 16
  for (let at = padding; at < size; at += 1) frame[at] = (number + 1 + at - padding) & 0xff
  return frame
}

/** A peer that keeps what it is sent. */
export class StreamPeer {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #ended = false

  /** Connects to a unix socket that listens. */
  static async connect(t: ExecutionContext, path: string): Promise<StreamPeer> {
    const socket = createConnection(path)
    await once(socket, 'connect')
    return new StreamPeer(t, socket)
  }

  /** Takes one connection at a unix socket. */
  static async accept(t: ExecutionContext, path: string): Promise<StreamPeer> {
    return new StreamPeer(t, (await acceptPaused(path)).resume())
  }

  private constructor(t: ExecutionContext, socket: Socket) {
    this.socket = socket
    // Whoever resets the connection has ended it.
    socket.on('error', () => {})
    socket.on('data', data => {
      this.#received = Buffer.concat([this.#received, data])
    })
    socket.on('close', () => {
      this.#ended = true
    })
    t.teardown(() => this.close())
  }

  get received(): Buffer {
    return this.#received
  }

  /** Waits until so many bytes have come. */
  has(bytes: number): Promise<void> {
    return until(
      () => this.#received.length >= bytes,
      () => `${bytes} bytes, ${this.#received.length} came: ${this.#received.toString('hex', 0, 200)}`,
    )
  }

  /** Waits until the other end has closed the connection. */
  closed(): Promise<void> {
    return until(
      () => this.#ended,
      () => 'the connection was closed',
    )
  }

  write(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes))
  }

  close(): void {
    this.socket.destroy()
  }
}

/** The first connection to a unix socket, from which nothing has been read. */
export async function acceptPaused(path: string): Promise<Socket> {
  const server = createServer({ pauseOnConnect: true }).listen(path)
  // Nobody may ever come.
  server.unref()
  const [socket] = (await once(server, 'connection')) as [Socket]
  server.close()
  return socket
}

/** Where a chardev is: a unix socket, or a port of the lab's loopback. */
export type Place = { readonly path: string } | { readonly port: number }

export interface Plugged {
  unplug(): Promise<void>
}

/** Plugs a chardev in: a server that waits for nobody, or a client that connects at once, and again after a while. */
export function plugChardev(
  t: ExecutionContext,
  vm: Vm,
  id: string,
  place: Place & {
    readonly server?: boolean
    readonly reconnect?: number
    /** The id of its credentials. */
    readonly tlsCreds?: string
  },
): Promise<Plugged> {
  const { server = false, reconnect, tlsCreds } = place
  const addr =
    'path' in place
      ? { type: 'unix', data: { path: place.path } }
      : // No name: where there is only a loopback, QEMU's client resolves none (AI_ADDRCONFIG).
        { type: 'inet', data: { host: '127.0.0.1', port: String(place.port) } }
  const again = reconnect === undefined ? {} : { reconnect }
  const secure = tlsCreds === undefined ? {} : { 'tls-creds': tlsCreds }
  const data = { addr, server, ...secure, ...(server ? { wait: false } : again) }
  const added = { id, backend: { type: 'socket', data } }
  return plug(t, vm, ['chardev-add', added], ['chardev-remove', { id }])
}

/** Plugs credentials in, good or not: QEMU is told not to look at them itself. */
export function plugCredentials(
  t: ExecutionContext,
  vm: Vm,
  id: string,
  endpoint: 'server' | 'client',
  dir: string,
): Promise<Plugged> {
  const added = { 'qom-type': 'tls-creds-x509', id, endpoint, dir, 'sanity-check': false }
  return plug(t, vm, ['object-add', added], ['object-del', { id }])
}

export interface Filter {
  readonly type: 'filter-mirror' | 'filter-redirector'
  readonly netdev: string
  readonly queue: 'tx' | 'rx' | 'all'
  readonly indev?: string
  readonly outdev?: string
  readonly announced?: boolean
  readonly status?: 'on' | 'off'
}

export function plugFilter(t: ExecutionContext, vm: Vm, id: string, filter: Filter): Promise<Plugged> {
  const { type, announced = false, ...properties } = filter
  const added = { 'qom-type': type, id, ...properties, vnet_hdr_support: announced }
  return plug(t, vm, ['object-add', added], ['object-del', { id }])
}

export async function setFilter(vm: Vm, id: string, status: 'on' | 'off'): Promise<void> {
  await vm.command('qom-set', { path: `/objects/${id}`, property: 'status', value: status })
}

type Command = readonly [name: string, args: object]

async function plug(t: ExecutionContext, vm: Vm, inwards: Command, outwards: Command): Promise<Plugged> {
  await vm.command(...inwards)
  let plugged = true
  const unplug = async () => {
    if (!plugged) return
    plugged = false
    await vm.command(...outwards)
  }
  // The last one first: a filter leaves its chardev before that goes.
  t.teardown(unplug)
  return { unplug }
}

export interface Chardev {
  readonly label: string
  readonly filename: string
  readonly 'frontend-open': boolean
}

/** What QEMU says of a chardev. */
export async function queryChardev(vm: Vm, id: string): Promise<Chardev> {
  const chardevs = await vm.command<readonly Chardev[]>('query-chardev')
  const found = chardevs.find(({ label }) => label === id)
  if (found === undefined) throw new Error(`there is no chardev ${id}: ${JSON.stringify(chardevs)}`)
  return found
}

/** Waits until a chardev has a peer, or none. */
export async function connected(vm: Vm, id: string, wanted = true): Promise<void> {
  let seen = ''
  await until(
    async () => {
      seen = (await queryChardev(vm, id)).filename
      return !seen.startsWith('disconnected:') === wanted
    },
    () => `${id} was ${wanted ? 'connected' : 'disconnected'}: ${seen}`,
  )
}
