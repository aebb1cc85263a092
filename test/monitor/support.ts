/** What the tests of the VM watch share. */

import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { TapferryError } from '../../ts/errors.ts'
import { Monitor, type MonitorEvent, type MonitorOptions } from '../../ts/monitor/index.ts'
import { QmpSimulator, type SimulatorOptions } from '../../ts/monitor/simulator.ts'
import { temporaryDirectory } from '../support/directory.ts'

export { sleep }

/** A path for a socket, in a directory that goes when the test ends. */
export function socketPath(t: ExecutionContext, name = 'monitor.sock'): string {
  return join(temporaryDirectory(t), name)
}

/** A TCP port of 127.0.0.1 that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no TCP port')
  return address.port
}

export async function simulate(
  t: ExecutionContext,
  options: Partial<SimulatorOptions> = {},
): Promise<QmpSimulator> {
  const simulator = await QmpSimulator.listen({ address: socketPath(t), ...options })
  t.teardown(() => simulator.close())
  return simulator
}

/** A server that is no QEMU. */
export async function listen(
  t: ExecutionContext,
  address: { path: string } | { port: number },
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket.on('error', () => {}))
    onConnection(socket)
  })
  await new Promise<void>(resolve => server.listen(address, resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server
}

export interface Watch {
  readonly monitor: Monitor
  readonly events: MonitorEvent[]
  /** Resolves with the first event that fits, whether it came already or not. */
  next(fits: (event: MonitorEvent) => boolean, timeoutMs?: number): Promise<MonitorEvent>
}

export async function watch(t: ExecutionContext, options: MonitorOptions): Promise<Watch> {
  const monitor = await Monitor.connect(options)
  t.teardown(() => monitor.close())
  const events: MonitorEvent[] = []
  monitor.onEvent(event => events.push(event))
  return {
    monitor,
    events,
    next: async (fits, timeoutMs = 5_000) => {
      await until(
        () => events.some(fits),
        timeoutMs,
        () => `events: ${describe(events)}`,
      )
      return events.find(fits) as MonitorEvent
    },
  }
}

export async function until(
  condition: () => boolean,
  timeoutMs = 5_000,
  explain: () => string = () => '',
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`it did not happen in ${timeoutMs} ms. ${explain()}`)
    await sleep(5)
  }
}

/** The failure that `action` ends in; anything else fails the test. */
export async function failure(t: ExecutionContext, action: Promise<unknown>): Promise<TapferryError> {
  return await t.throwsAsync(action, { instanceOf: TapferryError })
}

/** One line an event, without times. */
export function describe(events: readonly MonitorEvent[]): string[] {
  return events.map(event => {
    if (event.type === 'run_state') {
      const timed = event.atNs === undefined ? '' : ' timed'
      return `run_state ${event.running ? 'running' : 'stopped'} ${event.cause}${timed}`
    }
    return event.type === 'vm_event' ? `vm_event ${event.name}` : event.type
  })
}
