/** What is true of QEMU's filter-redirectors whose peers leave, and that the cure works. */

import { createConnection, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { Monitor } from '../../ts/monitor/index.ts'
import { parseStreamEnd } from '../../ts/stream/address.ts'
import type { ChardevInfo } from '../../ts/vm/chardevs.ts'
import { DeafnessCure, type Revival } from '../../ts/vm/deafness.ts'
import { filterOrder } from '../../ts/vm/filters.ts'
import { OtherEnd } from '../../ts/vm/other-end.ts'
import { qmp, start, withQemu } from './qemu.ts'
import { freePort, socketPath, until, watch } from './support.ts'

/** Frames by the byte that they are full of. */
function record(byte: number): Buffer {
  const frame = Buffer.alloc(64, byte)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(frame.length)
  return Buffer.concat([length, frame])
}

/** Collects the frames of a stream, by their bytes. */
function read(socket: Socket, frames: number[]): void {
  let rest = Buffer.alloc(0)
  socket.on('data', data => {
    rest = Buffer.concat([rest, data])
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
      frames.push(rest[4] ?? -1)
      rest = rest.subarray(4 + rest.readUInt32BE(0))
    }
  })
}

/** Connects as soon as somebody listens. */
async function dial(t: ExecutionContext, to: { path: string } | { port: number }): Promise<Socket> {
  for (const deadline = performance.now() + 10_000; ; ) {
    const socket = createConnection({ host: '127.0.0.1', ...to })
    const failure = await new Promise<Error | undefined>(resolve => {
      socket.once('connect', () => resolve(undefined)).on('error', resolve)
    })
    t.teardown(() => socket.destroy())
    if (failure === undefined) return socket
    if (performance.now() > deadline) throw failure
  }
}

interface Peer {
  /** The next connection with QEMU. */
  connect(): Promise<Socket>
}

/** We connect to QEMU. */
function client(t: ExecutionContext, to: { path: string } | { port: number }): Peer {
  return { connect: () => dial(t, to) }
}

/** QEMU connects to us, and again a second after we have left. */
async function server(t: ExecutionContext, at: { path: string } | { port: number }): Promise<Peer> {
  const connections: Socket[] = []
  const listening = createServer(socket => {
    connections.push(socket.on('error', () => {}))
    t.teardown(() => socket.destroy())
  })
  await new Promise<void>(resolve => listening.listen({ host: '127.0.0.1', ...at }, resolve))
  t.teardown(() => listening.close())
  return {
    async connect() {
      await until(() => connections.length > 0, 10_000)
      return connections.shift() as Socket
    },
  }
}

/**
 * A VM that injects what comes in on c0 (r0), counts it (m0 mirrors it to c1), and has a filter on each side.
 * `chardev`: the properties of c0.
 */
async function vmWith(t: ExecutionContext, chardev: string) {
  const [monitorPath, mirrorPath] = [socketPath(t), socketPath(t, 'mirror')]
  const dgram = join(dirname(mirrorPath), 'net')
  start(t, [
    ...qmp(`unix:${monitorPath}`),
    ...['-chardev', `socket,id=c0,${chardev}`],
    ...['-chardev', `socket,id=c1,path=${mirrorPath},server=on,wait=off`],
    ...[
      '-netdev',
      `dgram,id=hn0,local.type=unix,local.path=${dgram},remote.type=unix,remote.path=${dgram}-peer`,
    ],
    ...['-device', 'e1000,netdev=hn0'],
    ...['-object', 'filter-buffer,id=b0,netdev=hn0,queue=rx,interval=1000'],
    ...['-object', 'filter-redirector,id=r0,netdev=hn0,queue=tx,indev=c0'],
    ...['-object', 'filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=c1'],
  ])
  const { monitor } = await watch(t, { address: monitorPath, wait: true })
  const frames: number[] = []
  const connectMirror = async (): Promise<Socket> => {
    const socket = await dial(t, { path: mirrorPath })
    read(socket, frames)
    return socket
  }
  return { monitor, frames, connectMirror }
}

async function chardev(monitor: Monitor, label: string): Promise<ChardevInfo | undefined> {
  return (await monitor.command<ChardevInfo[]>('query-chardev')).find(each => each.label === label)
}

/** Asks until the chardev is as wanted. */
async function untilChardev(
  monitor: Monitor,
  wanted: (chardev: ChardevInfo) => boolean,
  label = 'c0',
): Promise<void> {
  for (const deadline = performance.now() + 10_000; ; ) {
    const found = await chardev(monitor, label)
    if (found !== undefined && wanted(found)) return
    if (performance.now() > deadline) throw new Error(`${label} is ${JSON.stringify(found)}`)
  }
}

/** One look at the other end of our outdev, and the cure. */
function cureOf(monitor: Monitor, outdev: string): { look(): Promise<Revival[]> } {
  const otherEnd = new OtherEnd(monitor, { role: 'outdev', ...parseStreamEnd(outdev, '--outdev') })
  const cure = new DeafnessCure(monitor, otherEnd)
  return { look: async () => cure.revive(await otherEnd.filters()) }
}

const isConnected = ({ filename }: ChardevInfo): boolean => !filename.startsWith('disconnected:')

interface Case {
  title: string
  /** c0, the peer that we are to it, and our own address. */
  make(t: ExecutionContext): Promise<{ properties: string; peer: Peer; outdev: string }>
}

const cases: readonly Case[] = [
  {
    title: 'a unix server',
    async make(t) {
      const path = socketPath(t, 'c0')
      return {
        properties: `path=${path},server=on,wait=off`,
        peer: client(t, { path }),
        outdev: `unix:${path}`,
      }
    },
  },
  {
    title: 'a unix client',
    async make(t) {
      const path = socketPath(t, 'c0')
      const peer = await server(t, { path })
      return { properties: `path=${path},server=off,reconnect=1`, peer, outdev: `unix:${path},server` }
    },
  },
  {
    title: 'a tcp server',
    async make(t) {
      const port = await freePort()
      const properties = `host=127.0.0.1,port=${port},server=on,wait=off`
      return { properties, peer: client(t, { port }), outdev: `tcp:localhost:${port}` }
    },
  },
  {
    title: 'a tcp client',
    async make(t) {
      const port = await freePort()
      const peer = await server(t, { port })
      const properties = `host=127.0.0.1,port=${port},server=off,reconnect=1`
      return { properties, peer, outdev: `tcp:127.0.0.1:${port},server` }
    },
  },
]

for (const { title, make } of cases) {
  withQemu(
    `an indev that is ${title} is deaf after its peer has left, and hears when it is made anew`,
    async t => {
      const { properties, peer, outdev } = await make(t)
      const { monitor, frames, connectMirror } = await vmWith(t, properties)
      const cure = cureOf(monitor, outdev)
      await connectMirror()
      await untilChardev(monitor, isConnected, 'c1')
      const first = await peer.connect()
      first.write(record(1))
      await until(() => frames.length === 1)
      t.deepEqual(await cure.look(), [], 'what hears is left alone')

      // In the middle of a record, too.
      first.write(record(9).subarray(0, 30))
      first.destroy()
      await untilChardev(monitor, each => !each['frontend-open'])
      const second = await peer.connect()
      second.write(record(2))
      await untilChardev(monitor, isConnected)
      t.false((await chardev(monitor, 'c0'))?.['frontend-open'], 'connected, and nobody listens')
      t.deepEqual(frames, [1])

      t.deepEqual(await cure.look(), [{ filter: 'r0', chardev: 'c0', netdev: 'hn0' }])
      second.write(record(3))
      await until(() => frames.length === 3)
      t.deepEqual(frames, [1, 2, 3], 'what waited in the socket is not lost, and the cut record is forgotten')
      const network = await monitor.command<string>('human-monitor-command', {
        'command-line': 'info network',
      })
      t.deepEqual(filterOrder(network, 'hn0'), ['b0', 'r0', 'm0'])
      t.deepEqual(await cure.look(), [])
    },
  )
}

withQemu('a deaf filter is cured before its next peer comes', async t => {
  const path = socketPath(t, 'c0')
  const { monitor, frames, connectMirror } = await vmWith(t, `path=${path},server=on,wait=off`)
  await connectMirror()
  await untilChardev(monitor, isConnected, 'c1')
  const first = await dial(t, { path })
  await untilChardev(monitor, isConnected)
  first.destroy()
  await untilChardev(monitor, each => !isConnected(each) && !each['frontend-open'])
  const cure = cureOf(monitor, `unix:${path}`)
  t.is((await cure.look()).length, 1)
  t.true((await chardev(monitor, 'c0'))?.['frontend-open'])
  const second = await dial(t, { path })
  second.write(record(1))
  await until(() => frames.length === 1)
  t.deepEqual(frames, [1])
})

withQemu('an outdev of QEMU writes to whoever comes next, without help', async t => {
  const path = socketPath(t, 'c0')
  const { monitor, frames, connectMirror } = await vmWith(t, `path=${path},server=on,wait=off`)
  const peer = await dial(t, { path })
  const reader = await connectMirror()
  await untilChardev(monitor, isConnected, 'c1')
  peer.write(record(1))
  await until(() => frames.length === 1)
  reader.destroy()
  await untilChardev(monitor, each => !isConnected(each), 'c1')
  await connectMirror()
  await untilChardev(monitor, isConnected, 'c1')
  peer.write(record(2))
  await until(() => frames.length === 2)
  t.deepEqual(frames, [1, 2])
})
