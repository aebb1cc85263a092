/**
 * One run of a redirector, from the plan to the summary.
 *
 *     monitor connected -> netdevs resolved -> redirector started -> ready ... an end -> stopped, summary
 *
 * Invariants: 'ready' is printed once, after query-status has answered and all endpoints are open, and no
 * line before it holds that word. A lost monitor changes nothing but is reported. Every end passes through
 * `#finish`, so whatever was opened is closed, and whatever was counted is told.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Redirector, RedirectorEvent, RedirectorOptions, Statistics } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { netnsPath } from '../host/namespaces.ts'
import { Monitor, type MonitorEvent } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import { type NetdevRole, type ResolvedNetdev, resolveNetdev } from '../netdev/index.ts'
import { formatDuration, nowNs, QUEUE_IN_WORDS } from '../output/format.ts'
import type { Printer } from '../output/printer.ts'
import {
  lostAtOutput,
  nothingForwarded,
  statisticsLine,
  statisticsRecord,
  statisticsTable,
} from '../output/statistics.ts'
import { catchStopSignals, onStatisticsRequest, stopRequested } from '../signals.ts'
import type { RunPlan } from './plan.ts'

/** Why a run ended. */
type End = 'stopped' | 'duration' | 'count' | 'failed'

/** How often a netdev id that the monitor does not know yet is asked for again. */
const RETRY_MS = 250

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
  readonly #timers: NodeJS.Timeout[] = []
  readonly #ended: Promise<End>
  #end!: (end: End) => void
  #fail!: (error: TapferryError) => void
  #monitor: Monitor | undefined
  #redirector: Redirector | undefined
  /** The last change of the VM's run state since the monitor was connected. */
  #runState: { running: boolean; atNs?: bigint } | undefined
  /** The end points as people know them: `hn0 (tapA)`. */
  #names = { input: '', output: '' }
  #startedNs = nowNs()
  #readyEvent: RedirectorEvent | undefined
  /** Statistics were asked for before there was a redirector to ask. */
  #statisticsWanted = false
  #finishing = false

  constructor(plan: RunPlan, printer: Printer) {
    this.#plan = plan
    this.#printer = printer
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
    await this.#finish(end)
    if (failure !== undefined) throw failure
  }

  async #start(): Promise<void> {
    const plan = this.#plan
    // Before anything is opened: a missing addon is the same failure with and without a VM.
    const binding = loadBinding()
    if (plan.monitor !== undefined) await this.#connectMonitor(plan.monitor)
    const input = await this.#resolve(plan.inNetdev, 'in_netdev', plan.inNetns)
    const output = await this.#resolve(plan.outNetdev, 'out_netdev', plan.outNetns)
    this.#names = { input: shownName(plan.inNetdev, input), output: shownName(plan.outNetdev, output) }

    const running = this.#monitor?.running ?? true
    const options: RedirectorOptions = {
      inNetdev: input.interface,
      outNetdev: output.interface,
      ...(input.netns === undefined ? {} : { inNetns: input.netns }),
      ...(output.netns === undefined ? {} : { outNetns: output.netns }),
      queue: plan.queue,
      latency: plan.latency,
      status: plan.status,
      whenStopped: plan.whenStopped,
      running,
      preRollMs: plan.preRollMs,
      preRollBytes: plan.preRollBytes,
      mark: plan.mark,
      wait: plan.wait,
      ...(plan.count === undefined ? {} : { count: plan.count }),
    }
    const starting = binding.Redirector.start(options, event => this.#onRedirectorEvent(event))
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
    if (this.#readyEvent !== undefined) await this.#announceReady(this.#readyEvent)
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

  /** The host interface behind a name; with --wait a netdev that the VM does not have yet is waited for. */
  async #resolve(name: string, role: NetdevRole, netns: string | undefined): Promise<ResolvedNetdev> {
    const surroundings = { monitor: this.#monitor, netns: netns === undefined ? undefined : netnsPath(netns) }
    for (let waiting = false; ; waiting = true) {
      try {
        const netdev = await resolveNetdev(name, role, surroundings)
        if (netdev.assumed) {
          this.#printer.notice(
            `${role} '${name}' is taken for ${netdev.interface} of this network namespace: the VM's process does not tell`,
          )
        }
        return netdev
      } catch (error) {
        if (!this.#plan.wait || !mayAppear(error)) throw error
        if (!waiting) {
          this.#printer.notice(
            `waiting for ${role} '${name}': neither a netdev of the VM nor a host interface yet`,
          )
        }
      }
      await sleep(RETRY_MS, undefined, { signal: stopRequested })
    }
  }

  #onMonitorEvent(event: MonitorEvent): void {
    const printer = this.#printer
    switch (event.type) {
      case 'run_state': {
        this.#runState = event
        this.#redirector?.setRunState(event.running, event.atNs)
        const { running, status, cause } = event
        const timeNs = event.atNs ?? nowNs()
        printer.event(vmState(running, status), timeNs)
        printer.record('event', { event: 'run_state', running, status, cause }, timeNs)
        return
      }
      case 'vm_event': {
        const status = statusIn(event.data)
        printer.detail(`VM event ${event.name}${status === undefined ? '' : ` (${status})`}`)
        printer.record('event', { event: 'vm_event', name: event.name, status }, event.timeNs)
        return
      }
      case 'lost':
        printer.warning(`monitor lost: ${event.reason}; the gate stays as it is, trying again`, nowNs())
        printer.record('event', { event: 'monitor_lost', message: event.reason })
        return
      case 'regained':
        printer.event(`monitor regained: VM ${this.#monitor?.status}`, nowNs())
        printer.record('event', { event: 'monitor_regained', status: this.#monitor?.status })
    }
  }

  #onRedirectorEvent(event: RedirectorEvent): void {
    const { type, message, timeNs, code, netdev } = event
    if (type === 'ready') {
      this.#readyEvent = event
      if (this.#redirector !== undefined) void this.#announceReady(event)
      return
    }
    this.#printer.record('event', { event: type, message, code, netdev }, timeNs)
    if (type === 'failed') this.#fail(new TapferryError(code ?? 'SYSTEM', message))
    else if (type === 'warning' || isOutage(type)) this.#printer.warning(message, timeNs)
    else this.#printer.event(message, timeNs)
    if (type === 'count_reached') this.#end('count')
  }

  async #announceReady(event: RedirectorEvent): Promise<void> {
    const statistics = await this.#statistics()
    if (statistics === undefined) return
    const plan = this.#plan
    const { green, bold } = this.#printer.stderrColors
    this.#startedNs = event.timeNs
    const { input, output } = this.#names
    this.#printer.always(
      `${green('ready')}: ${bold(`${input} -> ${output}`)}, ${QUEUE_IN_WORDS[plan.queue]}, ${this.#gateInWords(statistics)}`,
    )
    this.#printer.detail(
      `queue ${plan.queue}, latency ${plan.latency}, engine ${statistics.engine}, mark 0x${plan.mark.toString(16)}`,
    )
    const { in_netdev, out_netdev, gate, status, running } = statisticsRecord(statistics)
    this.#printer.record(
      'ready',
      { in_netdev, out_netdev, queue: plan.queue, gate, status, running, vm_status: this.#monitor?.status },
      event.timeNs,
    )
    this.#startTimers()
  }

  #startTimers(): void {
    const { durationMs, statsIntervalMs } = this.#plan
    if (durationMs !== undefined) this.#timers.push(setTimeout(() => this.#end('duration'), durationMs))
    if (statsIntervalMs > 0) {
      this.#timers.push(setInterval(() => void this.#printStatistics('line'), statsIntervalMs))
    }
  }

  #gateInWords({ gate, status }: Statistics): string {
    const { green, yellow } = this.#printer.stderrColors
    const why = !status ? 'status=off' : this.#monitor ? `VM ${this.#monitor.status}` : 'no monitor'
    return `gate ${(gate === 'open' ? green : yellow)(gate)} (${why})`
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
    if (statistics === undefined) return
    const printer = this.#printer
    printer.record('statistics', statisticsRecord(statistics))
    if (printer.json) return
    if (form === 'line') printer.event(statisticsLine(statistics), nowNs())
    else printer.block(`statistics: ${this.#title()}`, statisticsTable(statistics, printer.stderrColors))
  }

  #title(): string {
    const elapsed = formatDuration(this.#elapsedMs())
    return `${this.#names.input} -> ${this.#names.output}, ${elapsed}`
  }

  #elapsedMs(): number {
    return Number(nowNs() - this.#startedNs) / 1e6
  }

  async #finish(end: End): Promise<void> {
    this.#finishing = true
    for (const timer of this.#timers) clearTimeout(timer)
    const redirector = this.#redirector
    const [statistics] = await Promise.all([redirector?.stop(), this.#monitor?.close()])
    this.#redirector = undefined
    if (statistics === undefined) return
    const printer = this.#printer
    const elapsed = Math.round(this.#elapsedMs())
    printer.record('summary', { end, elapsed_ms: elapsed, ...statisticsRecord(statistics) })
    if (!printer.json)
      printer.block(`summary: ${this.#title()}`, statisticsTable(statistics, printer.stderrColors))
    const nothing = nothingForwarded(statistics, this.#plan)
    if (nothing !== undefined) printer.warning(nothing)
    const lost = lostAtOutput(statistics)
    if (lost !== undefined) printer.warning(lost)
  }
}

function shownName(given: string, { interface: netdev, netns }: ResolvedNetdev): string {
  const place = netns === undefined ? '' : ` in ${netns}`
  return given === netdev ? `${netdev}${place}` : `${given} (${netdev}${place})`
}

/** Frames are being lost, or do not come: told in a quiet run, too. */
function isOutage(type: RedirectorEvent['type']): boolean {
  return type.endsWith('_down') || type.endsWith('_missing')
}

function vmState(running: boolean, status: string): string {
  if (running) return 'VM running'
  return status === 'stopped' ? 'VM stopped' : `VM stopped (${status})`
}

/** The `status` in the data of MIGRATION and its like. */
function statusIn(data: unknown): string | undefined {
  const status = (data as { status?: unknown } | null | undefined)?.status
  return typeof status === 'string' ? status : undefined
}

/** What --wait waits for while a netdev is looked up; a lost monitor is tried again by itself. */
function mayAppear(error: unknown): boolean {
  const codes = ['NETDEV_ID_UNKNOWN', 'MONITOR_LOST', 'MONITOR_TIMEOUT']
  return error instanceof TapferryError && codes.includes(error.code)
}

/** Without a monitor a netdev id of QEMU is an unknown interface to the core, which knows no ids. */
function withIdHint(error: unknown): TapferryError {
  const failure = TapferryError.from(error)
  if (failure.code !== 'NETDEV_NOT_FOUND' && failure.code !== 'NETDEV_NAME_INVALID') return failure
  const hint = `${failure.hint ?? ''}\nIf it is a netdev id of QEMU, add the VM's monitor: --qmp PATH`.trim()
  return new TapferryError(failure.code, failure.message, hint, { cause: error })
}
