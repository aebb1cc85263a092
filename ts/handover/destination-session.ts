/**
 * `tapferry handover dest`: from the plan to the report.
 *
 *     stage.ts       before and after, on either side
 *     vm-end.ts      whether the VM is gone, or only its monitor
 *     chronicle.ts   what is told of it; report/ what is written down
 *
 * Invariants: 'ready' is printed once, when it listens and the gates are closed as far as they can be, and no line
 * before it holds that word. Every end passes through `conclude`.
 */

import type { HandoverDestination, HandoverEvent } from '../binding.ts'
import type { ExitStatus } from '../errors.ts'
import { TapferryError } from '../errors.ts'
import type { Monitor, MonitorEvent } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import type { Printer } from '../output/printer.ts'
import { stopRequested } from '../signals.ts'
import { formatStreamAddress } from '../stream/address.ts'
import type { HandoverPlan } from './plan.ts'
import { destinationReport } from './report/make.ts'
import { conclude, onStage, type Stage } from './stage.ts'
import { handoverAddress, netdevOptions } from './vm.ts'
import { VmEnd } from './vm-end.ts'

/** Resolves with a good end; rejects with a TapferryError. */
export function handOverDestination(plan: HandoverPlan, printer: Printer): Promise<ExitStatus> {
  return onStage(plan, printer, stage => new DestinationSession(stage).run())
}

class DestinationSession {
  readonly #stage: Stage
  readonly #ended: Promise<void>
  #end!: () => void
  readonly #endedNetdevs = new Set<string>()
  #handle: HandoverDestination | undefined
  #vmEnd: VmEnd | undefined
  /** Since when the VM runs, told before there was a handle. */
  #resumed: { atNs: bigint | undefined } | undefined
  /** The VM has ended before it ran here. */
  #isGone = false

  constructor(stage: Stage) {
    this.#stage = stage
    this.#ended = new Promise(resolve => {
      this.#end = resolve
    })
    stopRequested.addEventListener('abort', () => this.#end())
    if (stopRequested.aborted) this.#end()
  }

  async run(): Promise<void> {
    const { monitor, netdevs, vm, chronicle } = this.#stage
    // In one turn, so that no change is missed between the look and the listening.
    expectIncoming(monitor)
    monitor.onEvent(event => this.#onMonitorEvent(event))
    this.#vmEnd = await VmEnd.of(vm.pid, () => this.#onGone())
    try {
      const handle = await this.#start()
      await this.#ended
      const counted = await handle.stop()
      const report = destinationReport(netdevs, counted, { vm, warnings: chronicle.warnings })
      await conclude(this.#stage, report, this.#isGone)
    } finally {
      this.#vmEnd.close()
    }
  }

  async #start(): Promise<HandoverDestination> {
    const { plan, netdevs, vm, chronicle, monitor } = this.#stage
    const { address, maxHoldBytes, mark, resumeTimeoutMs } = plan
    const options = { from: handoverAddress(plan), maxHoldBytes, mark, resumeTimeoutMs }
    const handle = await loadBinding().HandoverDestination.start(
      { ...options, netdevs: netdevs.map(netdev => netdevOptions(netdev, vm)) },
      event => this.#onEvent(event),
    )
    this.#handle = handle
    const reports = await handle.reports()
    const state = reports.every(({ gate }) => gate !== undefined) ? 'gated' : 'without a gate'
    chronicle.ready(netdevs, { from: formatStreamAddress(address), state, monitor })
    if (this.#resumed !== undefined) handle.resumed(this.#resumed.atNs)
    if (this.#isGone) handle.gone()
    return handle
  }

  #onEvent(event: HandoverEvent): void {
    const { chronicle, netdevs } = this.#stage
    chronicle.handoverEvent(event)
    const { type, netdev } = event
    if (type !== 'ended' || netdev === undefined) return
    if (this.#endedNetdevs.add(netdev).size === netdevs.length) this.#end()
  }

  #onMonitorEvent(event: MonitorEvent): void {
    const { chronicle, monitor } = this.#stage
    chronicle.monitorEvent(event, monitor)
    if (event.type === 'run_state' && event.running) {
      this.#resumed = { atNs: event.atNs }
      this.#handle?.resumed(event.atNs)
    }
    if (event.type === 'lost') this.#vmEnd?.monitorLost()
    if (event.type === 'regained') this.#vmEnd?.monitorRegained()
  }

  #onGone(): void {
    this.#isGone = this.#resumed === undefined
    this.#handle?.gone()
  }
}

function expectIncoming({ status, running, address }: Monitor): void {
  if (status === 'inmigrate') return
  throw new TapferryError(
    'VM_NOT_INCOMING',
    `the VM at ${address} does not wait for a migration: it is ${status}`,
    running
      ? 'where the VM runs, use tapferry handover source; here QEMU is started with -incoming'
      : 'start QEMU here with -incoming, for example -incoming tcp:0:4444, or -incoming defer',
  )
}
