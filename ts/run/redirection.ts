/**
 * One redirector of a run, from its plan to its summary. Session.ts has all of a run.
 *
 *     netdevs resolved -> redirector started -> open, with all others: announced ... finished, summary
 *
 *     open.ts             the plan's ends, as the addon wants them
 *     report.ts           what is told, and in which words
 *     other-end-watch.ts  whether the VM behind a stream understands us
 */

import type { Redirector, RedirectorEvent, RedirectorOptions, Statistics } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { loadBinding } from '../native.ts'
import type { Printer } from '../output/printer.ts'
import { explainStart, openEnds, type Surroundings } from './open.ts'
import { type OtherEndWatch, type Turns, watchOtherEnds } from './other-end-watch.ts'
import type { RunPlan } from './plan.ts'
import { type End, Report } from './report.ts'

/** What a run hears of it. */
export interface Listener {
  /** Both ends are open. */
  onOpen(): void
  /** Nothing more will come of it. */
  onEnd(end: End): void
  onFailure(failure: TapferryError): void
}

export interface RunState {
  readonly running: boolean
  /** CLOCK_REALTIME of the event, where that can be believed. */
  readonly atNs?: bigint
}

interface Opening {
  readonly event: RedirectorEvent
  readonly statistics: Statistics
}

export class Redirection {
  readonly #plan: RunPlan
  readonly #listener: Listener
  readonly #report: Report
  readonly #turns: Turns
  #around: Surroundings | undefined
  #redirector: Redirector | undefined
  #watches: readonly OtherEndWatch[] = []
  /** The last change of the VM's run state since the monitor was connected. */
  #runState: RunState | undefined
  #readyEvent: RedirectorEvent | undefined
  /** What the redirector has told before `ready` was printed; undefined from then on. */
  #early: RedirectorEvent[] | undefined = []
  /** Statistics were asked for before there was a redirector to ask. */
  #statisticsWanted = false
  #finishing = false
  #ownEnd: End | undefined
  #final: Statistics | undefined

  /** `label`: what tells its lines from those of others. */
  constructor(plan: RunPlan, label: string, printer: Printer, turns: Turns, listener: Listener) {
    this.#plan = plan
    this.#listener = listener
    this.#report = new Report(plan, label, printer)
    this.#turns = turns
  }

  /** Whether somebody may connect to it, also another redirector of the same run. */
  get listens(): boolean {
    return [this.#plan.input, this.#plan.output].some(end => end.kind === 'stream' && end.server)
  }

  /** The redirector is there, and its ends are open. */
  get isOpen(): boolean {
    return this.#readyEvent !== undefined && this.#redirector !== undefined
  }

  /** Why it has ended by itself; undefined while it goes on, or while it is not known here that it began. */
  get ownEnd(): End | undefined {
    return this.#redirector && this.#ownEnd
  }

  /** Resolves when there is a redirector, whose ends may still be waited for. */
  async start(around: Surroundings): Promise<void> {
    const { monitor, printer } = around
    this.#around = around
    this.#watches = watchOtherEnds(this.#plan, monitor, printer, this.#turns)
    const { options: ends, names } = await openEnds(this.#plan, around)
    this.#report.names = names
    const running = monitor?.running ?? true
    const starting = loadBinding().Redirector.start({ ...ends, ...optionsOf(this.#plan), running }, event =>
      this.#onEvent(event),
    )
    const redirector = await starting.catch(error => {
      throw explainStart(error, this.#plan)
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
    if (this.#statisticsWanted) void this.printStatistics('table')
    if (this.isOpen) this.#listener.onOpen()
    if (this.#ownEnd !== undefined) this.#listener.onEnd(this.#ownEnd)
  }

  setRunState(state: RunState): void {
    this.#runState = state
    this.#redirector?.setRunState(state.running, state.atNs)
  }

  /** To be called when the monitor is there again: the VM may have been changed before. */
  monitorRegained(): void {
    for (const watch of this.#watches) watch.check()
  }

  /** What `ready` is to say of it, of one that is open; undefined when it is ending. */
  async opening(): Promise<Opening | undefined> {
    const [event, statistics] = [this.#readyEvent, await this.#statistics()]
    return event === undefined || statistics === undefined ? undefined : { event, statistics }
  }

  readyInWords({ statistics }: Opening): string {
    return this.#report.readyInWords(statistics, this.#around?.monitor)
  }

  /** After `ready` was printed. */
  announce({ event, statistics }: Opening): void {
    this.#report.ready(event, statistics, this.#around?.monitor)
    this.#tellEarlyEvents()
    for (const watch of this.#watches) watch.check()
  }

  async printStatistics(form: 'line' | 'table'): Promise<void> {
    this.#statisticsWanted = this.#redirector === undefined
    const statistics = await this.#statistics()
    if (statistics !== undefined) this.#report.statistics(statistics, form)
  }

  /** Closes what is open. What is still starting is closed when it has started. */
  async stop(): Promise<void> {
    this.#finishing = true
    await Promise.all(this.#watches.map(watch => watch.close()))
    const redirector = this.#redirector
    this.#redirector = undefined
    this.#final = await redirector?.stop()
  }

  /** After all have stopped: `end` is that of the run. */
  summary(end: End, failure: TapferryError | undefined): void {
    this.#tellEarlyEvents()
    if (this.#final !== undefined) this.#report.summary(this.#final, this.#ownEnd ?? end, failure)
  }

  #onEvent(event: RedirectorEvent): void {
    const { type, message, code } = event
    if (type === 'ready') {
      this.#readyEvent = event
      if (this.isOpen) this.#listener.onOpen()
      return
    }
    if (this.#early === undefined || type === 'waiting' || type === 'failed') this.#tell(event)
    else this.#early.push(event)
    if (type === 'failed') this.#listener.onFailure(new TapferryError(code ?? 'SYSTEM', message))
    if (type === 'count_reached') this.#endByItself('count')
    if (type === 'input_closed') this.#endByItself('input_closed')
  }

  #endByItself(end: End): void {
    this.#ownEnd ??= end
    // On a busy host it may have ended before its start is known here: what it has counted can only be asked for then.
    if (this.#redirector !== undefined) this.#listener.onEnd(end)
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

  /** The present statistics; undefined when it is ending. */
  async #statistics(): Promise<Statistics | undefined> {
    try {
      return await this.#redirector?.statistics()
    } catch (error) {
      this.#listener.onFailure(TapferryError.from(error))
      return undefined
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
