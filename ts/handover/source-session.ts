/**
 * `tapferry handover source`: from the plan to the report, over as many migrations as are cancelled.
 *
 *     stage.ts          before and after, on either side
 *     source-round.ts   one migration: what the VM does, told to the core
 *     vm-end.ts         whether the VM is gone, or only its monitor
 *     chronicle.ts      what is told of it; report/ what is written down
 *
 * Invariants: 'ready' is printed once, when the destination has answered for every netdev, and no line before it holds
 * that word. Every end passes through `conclude`.
 */

import type { HandoverSourceReport } from '../binding.ts'
import type { ExitStatus } from '../errors.ts'
import { TapferryError } from '../errors.ts'
import type { MonitorEvent } from '../monitor/index.ts'
import type { Printer } from '../output/printer.ts'
import { statusIn } from '../output/vm-events.ts'
import { stopRequested } from '../signals.ts'
import { formatStreamAddress } from '../stream/address.ts'
import { MigrationEvents } from './capability.ts'
import type { HandoverPlan } from './plan.ts'
import { sourceReport, worstOutcome } from './report/make.ts'
import { isUnderWay, SourceRound } from './source-round.ts'
import { conclude, onStage, type Stage } from './stage.ts'
import { VmEnd } from './vm-end.ts'

/** Resolves with a good end; rejects with a TapferryError. */
export function handOverSource(plan: HandoverPlan, printer: Printer): Promise<ExitStatus> {
  return onStage(plan, printer, stage => new SourceSession(stage).run())
}

class SourceSession {
  readonly #stage: Stage
  readonly #capability: MigrationEvents
  #round: SourceRound
  #vmEnd: VmEnd | undefined
  /** QEMU's MigrationStatus, as far as it was told. */
  #migration = 'none'

  constructor(stage: Stage) {
    this.#stage = stage
    this.#capability = new MigrationEvents(stage.monitor)
    this.#round = this.#newRound()
  }

  async run(): Promise<void> {
    const { monitor, vm } = this.#stage
    refuseForeignState(monitor.status)
    const vmEnd = await VmEnd.of(vm.pid, () => this.#round.gone())
    this.#vmEnd = vmEnd
    try {
      await this.#capability.switchOn()
      monitor.onEvent(event => this.#onMonitorEvent(event))
      await this.#round.start()
      await this.#learnMigration()
      while (await this.#playRound()) {
        await this.#round.start()
        this.#stage.printer.notice('armed again, for the next migration')
      }
    } finally {
      vmEnd.close()
      await this.#capability.restore()
    }
  }

  #newRound(): SourceRound {
    const { netdevs, chronicle, plan, monitor } = this.#stage
    return new SourceRound(this.#stage, () => {
      const state = monitor.running ? 'armed' : `armed (VM ${monitor.status})`
      chronicle.ready(netdevs, { to: formatStreamAddress(plan.address), state, monitor })
    })
  }

  /** Answers whether there is to be another one. */
  async #playRound(): Promise<boolean> {
    const round = this.#round
    const stopped = new Promise<void>(resolve => {
      stopRequested.addEventListener('abort', () => resolve(), { once: true })
      if (stopRequested.aborted) resolve()
    })
    await Promise.race([round.ended, stopped])
    const counted = await round.stop()
    const goesOn = !stopRequested.aborted && this.#isForAnother(counted)
    if (goesOn) {
      // What the VM does from here on is told to the next one.
      this.#round = this.#newRound()
      if (isUnderWay(this.#migration)) this.#round.migration(this.#migration)
    }
    const { netdevs, vm, chronicle } = this.#stage
    const report = sourceReport(netdevs, counted, { vm, warnings: chronicle.warnings.splice(0) })
    await conclude(this.#stage, report, round.goneWithoutMigration)
    return goesOn
  }

  /** A VM that was only stopped and went on in the middle of its migration is still on its way. */
  #isForAnother(counted: readonly HandoverSourceReport[]): boolean {
    if (worstOutcome(counted.map(({ outcome }) => outcome)) !== 'cancelled') return false
    return this.#stage.plan.persistent || (isUnderWay(this.#migration) && this.#migration !== 'cancelling')
  }

  #onMonitorEvent(event: MonitorEvent): void {
    const { chronicle, monitor } = this.#stage
    chronicle.monitorEvent(event, monitor)
    switch (event.type) {
      case 'run_state':
        this.#round.runState(event.running, event.atNs)
        return
      case 'vm_event':
        if (event.name === 'MIGRATION') this.#onMigration(statusIn(event.data) ?? 'none')
        return
      case 'lost':
        this.#vmEnd?.monitorLost()
        return
      case 'regained':
        this.#vmEnd?.monitorRegained()
        void this.#learnMigration()
    }
  }

  #onMigration(status: string): void {
    this.#migration = status
    this.#round.migration(status)
  }

  /** What happened before there was somebody to hear of it. */
  async #learnMigration(): Promise<void> {
    const { monitor, printer } = this.#stage
    try {
      const { status = 'none' } = await monitor.command<{ status?: string }>('query-migrate')
      // What an earlier migration came to is nobody's concern.
      if (isUnderWay(status) || (this.#migration !== 'none' && status !== this.#migration)) {
        this.#onMigration(status)
      }
    } catch (error) {
      printer.detail(`the VM does not tell of its migration: ${TapferryError.from(error).message}`)
    }
  }
}

/** A VM that has left already, or is still to come, cannot be handed over from here. */
function refuseForeignState(status: string): void {
  if (status === 'inmigrate') {
    throw new TapferryError(
      'VM_INCOMING',
      'the VM waits to be migrated here: this is its destination',
      'use tapferry handover dest here, and handover source where the VM runs',
    )
  }
  if (status === 'postmigrate') {
    throw new TapferryError(
      'VM_MIGRATED',
      'the VM was migrated from here: there is nothing to hand over any more',
      'start the handover before the migration',
    )
  }
}
