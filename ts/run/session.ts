/**
 * A run of one redirector or several, from their plans to the summaries.
 *
 *     monitor connected -> redirectors opened -> ready ... an end -> stopped, summaries
 *
 *     redirection.ts      one of the redirectors
 *     report.ts           what is told of it, and in which words
 *
 * Invariants: 'ready' is printed once, after query-status has answered and all endpoints are open, and no
 * line before it holds that word. Of the redirectors' events only waiting and failures are told before it. A lost monitor
 * changes nothing but is reported. Every end passes through `#finish`, so whatever was opened is closed, and whatever was
 * counted is told.
 */

import { TapferryError } from '../errors.ts'
import { Monitor, type MonitorEvent } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import type { Printer } from '../output/printer.ts'
import { catchStopSignals, onStatisticsRequest, stopRequested } from '../signals.ts'
import { checkDescriptors } from './open.ts'
import { Turns } from './other-end-watch.ts'
import type { RunPlan } from './plan.ts'
import { Redirection } from './redirection.ts'
import { type End, reportMonitorEvent } from './report.ts'

/** Node ends when nothing is pending, and the redirector's thread does not count; any long interval does. */
const KEEP_ALIVE_MS = 3_600_000

/**
 * Runs the plans of one command line, which share their monitor and their end, until all have ended; a requested stop is a
 * good end. `notes`: of the command line, for people. Rejects with a TapferryError.
 */
export async function runPlans(
  plans: readonly RunPlan[],
  notes: readonly string[],
  printer: Printer,
): Promise<void> {
  catchStopSignals()
  const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS)
  try {
    await new Run(plans, notes, printer).run()
  } finally {
    clearInterval(keepAlive)
  }
}

class Run {
  readonly #plans: readonly RunPlan[]
  readonly #notes: readonly string[]
  readonly #printer: Printer
  readonly #redirections: readonly Redirection[]
  readonly #timers: NodeJS.Timeout[] = []
  readonly #ended: Promise<End>
  #end!: (end: End) => void
  #fail!: (error: TapferryError) => void
  #monitor: Monitor | undefined
  /** Under way, or done. */
  #announcing: Promise<void> | undefined
  #finishing = false

  constructor(plans: readonly RunPlan[], notes: readonly string[], printer: Printer) {
    this.#plans = plans
    this.#notes = notes
    this.#printer = printer
    this.#ended = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // An end may come while something else is awaited.
    this.#ended.catch(() => {})
    const turns = new Turns()
    const listener = {
      onOpen: () => this.#announce(),
      onEnd: (end: End) => this.#endWithTheLast(end),
      onFailure: (failure: TapferryError) => this.#fail(failure),
    }
    this.#redirections = plans.map(plan => {
      const label = plans.length > 1 && plan.object !== undefined ? `${plan.object.id}: ` : ''
      return new Redirection(plan, label, printer, turns, listener)
    })
    onStatisticsRequest(() => void this.#printStatistics('table'))
    stopRequested.addEventListener('abort', () => this.#end('stopped'))
    if (stopRequested.aborted) this.#end('stopped')
  }

  async run(): Promise<void> {
    let failure: unknown
    let end: End = 'failed'
    try {
      // Whatever is being waited for, an end is heard at once; what then becomes of the wait is of no interest.
      end = await Promise.race([this.#ended, this.#start().then(() => this.#ended)])
    } catch (error) {
      failure = error
    }
    await this.#finish(end, failure)
    if (failure !== undefined) throw failure
  }

  async #start(): Promise<void> {
    // Before anything is opened: a missing addon is the same failure with and without a VM.
    loadBinding()
    for (const plan of this.#plans) checkDescriptors(plan)
    await this.#connectMonitor()
    const around = { monitor: this.#monitor, printer: this.#printer, signal: stopRequested }
    const start = (some: readonly Redirection[]): Promise<unknown> =>
      Promise.all(some.map(redirection => redirection.start(around)))
    await start(this.#redirections.filter(({ listens }) => listens))
    await start(this.#redirections.filter(({ listens }) => !listens))
    await this.#announcing
  }

  async #connectMonitor(): Promise<void> {
    const [plan] = this.#plans
    if (plan?.monitor === undefined) return
    const monitor = await Monitor.connect({
      address: plan.monitor,
      wait: this.#plans.every(({ wait }) => wait),
      signal: stopRequested,
      onWaiting: reason => this.#printer.notice(`waiting for the monitor: ${reason.message}`),
    })
    this.#monitor = monitor
    monitor.onEvent(event => this.#onMonitorEvent(event))
    this.#printer.detail(`monitor ${monitor.address}: VM ${monitor.status}`)
  }

  #onMonitorEvent(event: MonitorEvent): void {
    if (event.type === 'run_state') for (const each of this.#redirections) each.setRunState(event)
    reportMonitorEvent(event, this.#monitor, this.#printer)
    if (event.type === 'regained') for (const each of this.#redirections) each.monitorRegained()
  }

  /** As soon as all are open. */
  #announce(): void {
    if (this.#redirections.every(({ isOpen }) => isOpen)) this.#announcing ??= this.#announceReady()
  }

  async #announceReady(): Promise<void> {
    const printer = this.#printer
    const openings = await Promise.all(
      this.#redirections.map(async each => ({ each, opening: await each.opening() })),
    )
    const open = openings.flatMap(({ each, opening }) => (opening === undefined ? [] : [{ each, opening }]))
    if (open.length < openings.length) return
    const words = open.map(({ each, opening }) => each.readyInWords(opening))
    printer.always(`${printer.stderrColors.green('ready')}: ${words.join('; ')}`)
    for (const { each, opening } of open) each.announce(opening)
    printer.notes(this.#notes)
    if (!this.#finishing) this.#startTimers()
  }

  #startTimers(): void {
    const [plan] = this.#plans
    const { durationMs, statsIntervalMs = 0 } = plan ?? {}
    if (durationMs !== undefined) this.#timers.push(setTimeout(() => this.#end('duration'), durationMs))
    if (statsIntervalMs > 0) {
      this.#timers.push(setInterval(() => void this.#printStatistics('line'), statsIntervalMs))
    }
  }

  /** One that has ended waits for the others, which still have something to do. */
  #endWithTheLast(end: End): void {
    if (this.#redirections.every(({ ownEnd }) => ownEnd !== undefined)) this.#end(end)
  }

  async #printStatistics(form: 'line' | 'table'): Promise<void> {
    await Promise.all(this.#redirections.map(each => each.printStatistics(form)))
  }

  async #finish(end: End, failure: unknown): Promise<void> {
    this.#finishing = true
    // An end that comes at once is told after the beginning.
    await this.#announcing
    for (const timer of this.#timers) clearTimeout(timer)
    await Promise.all(this.#redirections.map(each => each.stop()))
    await this.#monitor?.close()
    const reason = failure === undefined ? undefined : TapferryError.from(failure)
    for (const each of this.#redirections) each.summary(end, reason)
  }
}
