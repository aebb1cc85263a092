/** What a rehearsal looks at, gathered once; nothing is changed, and what fails is a fact. */

import { open } from 'node:fs/promises'
import type { GateKind, HostInterface } from '../../binding.ts'
import type { CredentialsFacts, MonitorFacts, OwnProcess } from '../../doctor/facts.ts'
import { lookInto as lookIntoCredentials } from '../../doctor/gather/credentials.ts'
import { memoryAvailable, ownProcess } from '../../doctor/gather/host.ts'
import { askMonitor } from '../../doctor/gather/monitor.ts'
import { TapferryError } from '../../errors.ts'
import type { Monitor } from '../../monitor/index.ts'
import { loadBinding } from '../../native.ts'
import { Printer } from '../../output/printer.ts'
import { stopRequested } from '../../signals.ts'
import { findReceiveQueue, type ReceiveQueue } from '../../vm/receive-queue.ts'
import { tapsOf } from '../../vm/taps.ts'
import type { HandoverPlan } from '../plan.ts'
import { findNetdevs, type HandoverNetdev, identify, netdevOptions } from '../vm.ts'
import { type Meeting, meet, type Patience } from './meeting.ts'

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
  /** By what a gate can be closed, or why none can. */
  readonly gate: GateKind | TapferryError
  /** Whether its threads may go before those of others; this process's do from then on. */
  readonly goesFirst: boolean
  /** For TLS; undefined where there is none. */
  readonly credentials: CredentialsFacts | undefined
  /** In milliseconds since 1970. */
  readonly now: number
  /** With the other side; undefined where there is nothing to meet for. */
  readonly meeting: Meeting | undefined
  /** How long the other side was waited for. */
  readonly patienceMs: number
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

export async function gatherRehearsal(plan: HandoverPlan, patience: Patience): Promise<RehearsalFacts> {
  const { facts: monitor, connection } = await askMonitor(plan.monitor)
  try {
    const { netdevs, problem } = await netdevsOf(plan, connection)
    const places = netdevs.map(({ netdev }) => ({ place: netdev }))
    return {
      ...{ plan, monitor, netdevs, problem },
      process: await ownProcess(places.length === 0 ? [undefined] : places),
      memoryAvailable: await memoryAvailable(),
      vmProcess: await lookInto(monitor?.vm?.pid),
      gate: await loadBinding()
        .probeGate()
        .catch(error => TapferryError.from(error)),
      goesFirst: loadBinding().goFirst(),
      credentials:
        plan.tlsCreds === undefined
          ? undefined
          : await lookIntoCredentials(plan.tlsCreds, plan.side === 'destination'),
      now: Date.now(),
      meeting: await meetOther(plan, connection, netdevs, patience),
      patienceMs: patience.milliseconds,
    }
  } finally {
    await connection?.close()
  }
}

/** Last, for it may take a while. */
async function meetOther(
  plan: HandoverPlan,
  monitor: Monitor | undefined,
  netdevs: readonly NetdevFacts[],
  patience: Patience,
): Promise<Meeting | undefined> {
  if (monitor === undefined || netdevs.length === 0) return undefined
  try {
    const vm = await identify(monitor)
    const options = netdevs.map(({ netdev }) => netdevOptions(netdev, vm))
    return { encounters: await meet(plan, options, patience), problem: undefined }
  } catch (error) {
    return { encounters: [], problem: TapferryError.from(error) }
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
