/** What a rehearsal looks at, gathered once; nothing is changed, and what fails is a fact. */

import { open } from 'node:fs/promises'
import { Socket } from 'node:net'
import type { HostInterface } from '../../binding.ts'
import type { MonitorFacts, OwnProcess } from '../../doctor/facts.ts'
import { memoryAvailable, ownProcess } from '../../doctor/gather/host.ts'
import { askMonitor } from '../../doctor/gather/monitor.ts'
import { TapferryError } from '../../errors.ts'
import { findListener, isListenedOn } from '../../host/listeners.ts'
import type { Monitor } from '../../monitor/index.ts'
import { loadBinding } from '../../native.ts'
import { Printer } from '../../output/printer.ts'
import { stopRequested } from '../../signals.ts'
import type { SocketAddress } from '../../stream/address.ts'
import { findReceiveQueue, type ReceiveQueue } from '../../vm/receive-queue.ts'
import { tapsOf } from '../../vm/taps.ts'
import type { HandoverPlan } from '../plan.ts'
import { findNetdevs, type HandoverNetdev } from '../vm.ts'

export interface RehearsalFacts {
  readonly plan: HandoverPlan
  readonly process: OwnProcess
  /** Of the whole host, in bytes. */
  readonly memoryAvailable: number
  readonly monitor: MonitorFacts | undefined
  /** Why there are no netdevs. */
  readonly problem: TapferryError | undefined
  readonly netdevs: readonly NetdevFacts[]
  /** What the VM's process lets us see. */
  readonly vmProcess: VmProcessFacts
  /** Why no gate can be closed; undefined where one can. */
  readonly gateProblem: TapferryError | undefined
  readonly way: Way
}

export interface NetdevFacts {
  readonly netdev: HandoverNetdev
  /** Undefined where it may not be looked at. */
  readonly facts: HostInterface | undefined
  /** Of a source. */
  readonly queue: ReceiveQueue | undefined
}

export interface VmProcessFacts {
  readonly pid: number | undefined
  /** Its memory, for the exact cut. */
  readonly readable: boolean
  /** Its descriptors, so that the TAP can be held. */
  readonly descriptors: boolean
}

/** How far the other side can be reached, or for a destination whether it can listen. */
export interface Way {
  readonly state: 'reached' | 'refused' | 'silent' | 'free' | 'taken' | 'foreign'
  /** In the kernel's words. */
  readonly why?: string
  /** Of a connection. */
  readonly milliseconds?: number
}

export async function gatherRehearsal(plan: HandoverPlan): Promise<RehearsalFacts> {
  const { facts: monitor, connection } = await askMonitor(plan.monitor)
  try {
    const { netdevs, problem } = await netdevsOf(plan, connection)
    const places = netdevs.map(({ netdev }) => ({ place: netdev }))
    return {
      ...{ plan, monitor, netdevs, problem },
      process: await ownProcess(places.length === 0 ? [undefined] : places),
      memoryAvailable: await memoryAvailable(),
      vmProcess: await lookInto(monitor?.vm?.pid),
      gateProblem: await gateProblem(),
      way: plan.side === 'source' ? await tryToReach(plan.address) : await tryToListen(plan.address),
    }
  } finally {
    await connection?.close()
  }
}

async function netdevsOf(
  plan: HandoverPlan,
  monitor: Monitor | undefined,
): Promise<{ netdevs: NetdevFacts[]; problem: TapferryError | undefined }> {
  if (monitor === undefined) return { netdevs: [], problem: undefined }
  const silent = new Printer({ json: false, level: 'quiet', color: 'never' })
  try {
    const found = await findNetdevs(plan, monitor, silent, stopRequested)
    const netdevs = found.map(async (netdev): Promise<NetdevFacts> => {
      const facts = await factsOf(netdev)
      const tun = facts?.tun
      const active = tun?.multiQueue ? tun.queues : undefined
      const queue = plan.side === 'source' ? await findReceiveQueue(monitor, netdev.id, active) : undefined
      return { netdev, facts, queue }
    })
    return { netdevs: await Promise.all(netdevs), problem: undefined }
  } catch (error) {
    return { netdevs: [], problem: TapferryError.from(error) }
  }
}

async function factsOf({ interface: name, netns }: HandoverNetdev): Promise<HostInterface | undefined> {
  const view = await loadBinding()
    .inspectNetwork(netns)
    .catch(() => undefined)
  return view?.interfaces.find(netdev => netdev.name === name)
}

async function lookInto(pid: number | undefined): Promise<VmProcessFacts> {
  if (pid === undefined) return { pid, readable: false, descriptors: false }
  const [tap] = await tapsOf(pid)
  const descriptors =
    tap !== undefined &&
    (await loadBinding()
      .inspectTapDescriptor(pid, tap.fd)
      .then(
        () => true,
        () => false,
      ))
  return { pid, readable: await isReadable(`/proc/${pid}/mem`), descriptors }
}

/** The kernel looks at the privileges when the file is opened (proc(5), ptrace(2)). */
async function isReadable(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined)
  await file?.close()
  return file !== undefined
}

async function gateProblem(): Promise<TapferryError | undefined> {
  return loadBinding()
    .probeGate()
    .then(
      () => undefined,
      error => TapferryError.from(error),
    )
}

/** For a connection to another host. */
const REACH_MS = 3_000

/** Of this host it is seen whether somebody listens; another one must be connected to. */
async function tryToReach(address: SocketAddress): Promise<Way> {
  const listening = await somebodyListens(address)
  if (listening === undefined && address.kind === 'tcp') return connectTo(address)
  return listening ? { state: 'reached' } : { state: 'refused', why: 'ECONNREFUSED' }
}

/** A path leads to a socket of any network namespace, but is listed in its own. */
async function somebodyListens(address: SocketAddress): Promise<boolean | undefined> {
  if (address.kind === 'unix' && (await findListener(address)) !== undefined) return true
  return isListenedOn(address)
}

/** A connection that says nothing is no source to a destination, and takes nobody's place. */
function connectTo({ host, port }: { host: string; port: number }): Promise<Way> {
  return new Promise(resolve => {
    const started = performance.now()
    const socket = new Socket()
    const settle = (way: Way): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(way)
    }
    const timer = setTimeout(() => settle({ state: 'silent' }), REACH_MS)
    socket.on('error', error => settle({ state: 'refused', why: reasonOf(error) }))
    socket.on('connect', () => settle({ state: 'reached', milliseconds: performance.now() - started }))
    socket.connect({ host, port })
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message
}

async function tryToListen(address: SocketAddress): Promise<Way> {
  const listening = await somebodyListens(address)
  if (listening === undefined) return { state: 'foreign' }
  return { state: listening ? 'taken' : 'free' }
}
