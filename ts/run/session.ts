/**
 * One run of a redirector, from the plan to the summary.
 *
 *     monitor connected -> netdevs resolved -> redirector started -> ready ... an end -> stopped, summary
 *
 *     open.ts             the plan's ends, as the addon wants them
 *     report.ts           what is told, and in which words
 *     other-end-watch.ts  whether the VM behind a stream understands us
 *
 * Invariants: 'ready' is printed once, after query-status has answered and all endpoints are open, and no
 * line before it holds that word. Of the redirector's events only waiting and failures are told before it. A lost monitor changes nothing but is reported. Every end passes through
 * `#finish`, so whatever was opened is closed, and whatever was counted is told.
 */

import type { Redirector, RedirectorEvent, RedirectorOptions, Statistics } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { Monitor, type MonitorEvent } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import type { Printer } from '../output/printer.ts'
import { catchStopSignals, onStatisticsRequest, stopRequested } from '../signals.ts'
import { checkDescriptors, openEnds, withIdHint } from './open.ts'
import { type OtherEndWatch, watchOtherEnds } from './other-end-watch.ts'
import type { RunPlan } from './plan.ts'
import { type End, Report } from './report.ts'

/** Node ends when nothing is pending, and the redirector's thread does not count; any long interval does. */
const KEEP_ALIVE_MS = 3_600_000

/** Runs the plan until it ends; a requested stop is a good end. Rejects with a TapferryError. */
export async function runRedirector(plan: RunPlan, printer: Printer): Promise<void> {
  catchStopSignals()
  const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS)
  try {
    await new Run(plan, printer).run()
  } finally {
    clearInterval(keepAlive)
  }
}

class Run {
  readonly #plan: RunPlan
  readonly #printer: Printer
  readonly #report: Report
  readonly #timers: NodeJS.Timeout[] = []
  readonly #ended: Promise<End>
  #end!: (end: End) => void
  #fail!: (error: TapferryError) => void
  #monitor: Monitor | undefined
  #redirector: Redirector | undefined
  #watches: readonly OtherEndWatch[] = []
  /** The last change of the VM's run state since the monitor was connected. */
  #runState: { running: boolean; atNs?: bigint } | undefined
  #readyEvent: RedirectorEvent | undefined
  /** Under way, or done. */
  #announcing: Promise<void> | undefined
  /** What the redirector has told before `ready` was printed; undefined from then on. */
  #early: RedirectorEvent[] | undefined = []
  /** Statistics were asked for before there was a redirector to ask. */
  #statisticsWanted = false
  #finishing = false

  constructor(plan: RunPlan, printer: Printer) {
    this.#plan = plan
    this.#printer = printer
    this.#report = new Report(plan, printer)
    this.#ended = new Promise((resolve, reject) => {
      this.#end = resolve
      this.#fail = reject
    })
    // An end may come while something else is awaited.
    this.#ended.catch(() => {})
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
    const plan = this.#plan
    // Before anything is opened: a missing addon is the same failure with and without a VM.
    const binding = loadBinding()
    checkDescriptors(plan)
    if (plan.monitor !== undefined) await this.#connectMonitor(plan.monitor)
    this.#watches = watchOtherEnds(plan, this.#monitor, this.#printer)
    const around = { monitor: this.#monitor, printer: this.#printer, signal: stopRequested }
    const { options: ends, names } = await openEnds(plan, around)
    this.#report.names = names

    const running = this.#monitor?.running ?? true
    const starting = binding.Redirector.start({ ...ends, ...optionsOf(plan), running }, event =>
      this.#onRedirectorEvent(event),
    )
    const redirector = await starting.catch(error => {
      throw this.#monitor === undefined ? withIdHint(error) : error
    })
    if (this.#finishing) {
      await redirector.stop()
      return
    }
    this.#redirector = redirector
    // What the VM did while the redirector was starting, with its time: the frames since then count.
    const missed = this.#runState
    if (missed !== undefined && missed.running !== running)
      redirector.setRunState(missed.running, missed.atNs)
    if (this.#statisticsWanted) void this.#printStatistics('table')
    this.#announce()
    await this.#announcing
  }

  async #connectMonitor(address: string): Promise<void> {
    const monitor = await Monitor.connect({
      address,
      wait: this.#plan.wait,
      signal: stopRequested,
      onWaiting: reason => this.#printer.notice(`waiting for the monitor: ${reason.message}`),
    })
    this.#monitor = monitor
    monitor.onEvent(event => this.#onMonitorEvent(event))
    this.#printer.detail(`monitor ${monitor.address}: VM ${monitor.status}`)
  }

  #onMonitorEvent(event: MonitorEvent): void {
    if (event.type === 'run_state') {
      this.#runState = event
      this.#redirector?.setRunState(event.running, event.atNs)
    }
    this.#report.monitorEvent(event, this.#monitor)
    if (event.type === 'regained') for (const watch of this.#watches) watch.check()
  }

  #onRedirectorEvent(event: RedirectorEvent): void {
    const { type, message, code } = event
    if (type === 'ready') {
      this.#readyEvent = event
      this.#announce()
      return
    }
    if (this.#early === undefined || type === 'waiting' || type === 'failed') this.#tell(event)
    else this.#early.push(event)
    if (type === 'failed') this.#fail(new TapferryError(code ?? 'SYSTEM', message))
    if (type === 'count_reached') this.#end('count')
    if (type === 'input_closed') this.#end('input_closed')
  }

  #tell(event: RedirectorEvent): void {
    this.#report.redirectorEvent(event)
    for (const watch of this.#watches) watch.onRedirectorEvent(event.type)
  }

  #tellEarlyEvents(): void {
    const early = this.#early ?? []
    this.#early = undefined
    for (const event of early) this.#tell(event)
  }

  /** As soon as there is both the event and the redirector to ask. */
  #announce(): void {
    if (this.#readyEvent === undefined || this.#redirector === undefined) return
    this.#announcing ??= this.#announceReady(this.#readyEvent)
  }

  async #announceReady(event: RedirectorEvent): Promise<void> {
    const statistics = await this.#statistics()
    if (statistics === undefined) return
    this.#report.ready(event, statistics, this.#monitor)
    this.#tellEarlyEvents()
    for (const watch of this.#watches) watch.check()
    if (!this.#finishing) this.#startTimers()
  }

  #startTimers(): void {
    const { durationMs, statsIntervalMs } = this.#plan
    if (durationMs !== undefined) this.#timers.push(setTimeout(() => this.#end('duration'), durationMs))
    if (statsIntervalMs > 0) {
      this.#timers.push(setInterval(() => void this.#printStatistics('line'), statsIntervalMs))
    }
  }

  /** The present statistics; undefined when the run is ending. */
  async #statistics(): Promise<Statistics | undefined> {
    try {
      return await this.#redirector?.statistics()
    } catch (error) {
      this.#fail(TapferryError.from(error))
      return undefined
    }
  }

  async #printStatistics(form: 'line' | 'table'): Promise<void> {
    this.#statisticsWanted = this.#redirector === undefined
    const statistics = await this.#statistics()
    if (statistics !== undefined) this.#report.statistics(statistics, form)
  }

  async #finish(end: End, failure: unknown): Promise<void> {
    this.#finishing = true
    // An end that comes at once is told after the beginning.
    await this.#announcing
    for (const timer of this.#timers) clearTimeout(timer)
    await Promise.all(this.#watches.map(watch => watch.close()))
    const redirector = this.#redirector
    const [statistics] = await Promise.all([redirector?.stop(), this.#monitor?.close()])
    this.#redirector = undefined
    this.#tellEarlyEvents()
    if (statistics !== undefined) {
      this.#report.summary(statistics, end, failure === undefined ? undefined : TapferryError.from(failure))
    }
  }
}

/** What the plan says besides its ends. */
function optionsOf(plan: RunPlan): Omit<RedirectorOptions, 'running'> {
  const { queue, latency, status, whenStopped, preRollMs, preRollBytes, mark, wait, hold } = plan
  const { completeOffloads, bufferBytes, bufferFrames, dropOldest } = plan
  return {
    ...{ queue, latency, status, whenStopped, preRollMs, preRollBytes, mark, wait },
    ...{ completeOffloads, bufferBytes, bufferFrames, dropOldest },
    ...(typeof hold === 'number' ? { holdMs: hold } : {}),
    holdUntilRunning: hold === 'until-running',
    ...(plan.count === undefined ? {} : { count: plan.count }),
  }
}
