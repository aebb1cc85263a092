/**
 * One migration at the source: from armed handles, one for each netdev, to their ends. What the VM does is told to
 * them in the order in which it happened, also what it did while they were starting.
 *
 *     MIGRATION setup, active      calibrate, once for each netdev, and where its receive queue is; if that cannot be
 *                                  read, how far the monitor says that it is (queue-questions.ts)
 *     STOP, device, completed      stopped, once
 *     RESUME, failed, cancelled    resumed: it runs on here
 *
 * A VM that was stopped before gives no STOP: it has stopped when its migration hands over.
 */

import type { HandoverEvent, HandoverSource, HandoverSourceReport } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { loadBinding } from '../native.ts'
import { findReceiveQueue } from '../vm/receive-queue.ts'
import { QueueQuestions } from './queue-questions.ts'
import type { Stage } from './stage.ts'
import { type HandoverNetdev, handoverAddress, netdevOptions } from './vm.ts'

/** QEMU's MigrationStatus while a migration is under way. */
const UNDER_WAY: ReadonlySet<string> = new Set([
  ...['setup', 'active', 'wait-unplug', 'pre-switchover', 'device', 'postcopy-active', 'postcopy-paused'],
  ...['postcopy-recover', 'postcopy-recover-setup', 'cancelling'],
])

/** From these on the VM does not run here. */
const HANDS_OVER: ReadonlySet<string> = new Set(['pre-switchover', 'device', 'completed'])

export function isUnderWay(status: string): boolean {
  return UNDER_WAY.has(status)
}

/** A netdev on its way. */
interface Ferry {
  readonly netdev: HandoverNetdev
  readonly handle: HandoverSource
}

export class SourceRound {
  /** Resolves when every netdev has ended. */
  readonly ended: Promise<void>
  readonly #stage: Stage
  readonly #onReady: () => void
  #ferries: Ferry[] = []
  /** What is to be told once all handles are there; undefined from then on. */
  #early: (() => void)[] | undefined = []
  #phase: 'armed' | 'migrating' | 'stopped' | 'over' = 'armed'
  #isGone = false
  readonly #questions: QueueQuestions[] = []
  readonly #readyNetdevs = new Set<string>()
  readonly #endedNetdevs = new Set<string>()
  #resolve!: () => void

  /** `onReady`: the destination has answered for every netdev. */
  constructor(stage: Stage, onReady: () => void) {
    this.#stage = stage
    this.#onReady = onReady
    this.ended = new Promise(resolve => {
      this.#resolve = resolve
    })
  }

  /** The VM has ended, and nothing had been handed over. */
  get goneWithoutMigration(): boolean {
    return this.#isGone
  }

  /** Rejects when a netdev cannot be started; the others are stopped then. */
  async start(): Promise<void> {
    const { netdevs, plan, vm } = this.#stage
    const { maxHoldBytes, mark, resumeTimeoutMs } = plan
    const to = handoverAddress(plan)
    const starts = netdevs.map(async netdev => {
      const options = { ...netdevOptions(netdev, vm), to, maxHoldBytes, mark, resumeTimeoutMs }
      const handle = await loadBinding().HandoverSource.start(options, event => this.#onEvent(event))
      return { netdev, handle }
    })
    const started = await Promise.allSettled(starts)
    this.#ferries = started.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
    const failure = started.find(each => each.status === 'rejected')
    if (failure !== undefined) {
      await this.stop()
      throw TapferryError.from(failure.reason)
    }
    const early = this.#early ?? []
    this.#early = undefined
    for (const tell of early) tell()
  }

  /** QEMU's MigrationStatus, as an event or an answer tells it. */
  migration(status: string): void {
    this.#inOrder(() => {
      if (isUnderWay(status) && status !== 'cancelling') this.#begin()
      if (HANDS_OVER.has(status) && !this.#stage.monitor.running) this.#stop(undefined)
      if (status === 'completed') for (const { handle } of this.#ferries) handle.completed()
      if (status === 'failed' || status === 'cancelled') this.#goOn()
    })
  }

  runState(running: boolean, atNs: bigint | undefined): void {
    this.#inOrder(() => {
      if (running) this.#goOn()
      else this.#stop(atNs)
    })
  }

  /** The VM's process has ended. */
  gone(): void {
    this.#inOrder(() => {
      this.#isGone = this.#phase === 'armed' || this.#phase === 'migrating'
      for (const { handle } of this.#ferries) handle.gone()
    })
  }

  /** Ends what has not ended, and answers with the final reports, in the order of the netdevs. */
  async stop(): Promise<HandoverSourceReport[]> {
    for (const questions of this.#questions) questions.end()
    return Promise.all(this.#ferries.map(({ handle }) => handle.stop()))
  }

  #inOrder(tell: () => void): void {
    if (this.#early === undefined) tell()
    else this.#early.push(tell)
  }

  #begin(): void {
    if (this.#phase !== 'armed') return
    this.#phase = 'migrating'
    for (const ferry of this.#ferries) void this.#calibrate(ferry)
  }

  async #calibrate({ netdev, handle }: Ferry): Promise<void> {
    const { monitor, vm } = this.#stage
    // First of all: the monitor may take its time, and frames come.
    handle.calibrate(vm.pid)
    const queue = await findReceiveQueue(monitor, netdev.id, await activeQueues(netdev))
    if (this.#phase !== 'migrating' || (await handle.receiveQueue(queue)) || !('ring' in queue)) return
    if (this.#phase === 'migrating') this.#questions.push(new QueueQuestions(monitor, queue.device, handle))
  }

  #stop(atNs: bigint | undefined): void {
    // A VM that stops without a migration is not on its way.
    if (this.#phase !== 'migrating') return
    this.#phase = 'stopped'
    for (const { handle } of this.#ferries) handle.stopped(atNs)
    for (const questions of this.#questions) questions.vmStopped()
  }

  #goOn(): void {
    if (this.#phase !== 'migrating' && this.#phase !== 'stopped') return
    this.#phase = 'over'
    for (const questions of this.#questions) questions.end()
    for (const { handle } of this.#ferries) handle.resumed()
  }

  #onEvent(event: HandoverEvent): void {
    this.#stage.chronicle.handoverEvent(event)
    const { type, netdev } = event
    if (netdev === undefined) return
    const all = this.#stage.netdevs.length
    if (type === 'ready' && this.#readyNetdevs.add(netdev).size === all) this.#onReady()
    if (type === 'ended' && this.#endedNetdevs.add(netdev).size === all) this.#resolve()
  }
}

/** How many queues of a TAP with several the VM reads: QEMU detaches those that its guest does not use. */
async function activeQueues({ interface: name, netns }: HandoverNetdev): Promise<number | undefined> {
  const view = await loadBinding()
    .inspectNetwork(netns)
    .catch(() => undefined)
  const tun = view?.interfaces.find(netdev => netdev.name === name)?.tun
  return tun?.multiQueue ? tun.queues : undefined
}
