/** What a run tells: to people on stderr, to programs on stdout. It changes nothing. */

import type { RedirectorEvent, Statistics } from '../binding.ts'
import type { TapferryError } from '../errors.ts'
import type { Monitor, MonitorEvent } from '../monitor/index.ts'
import { formatDuration, holdInWords, nowNs, QUEUE_IN_WORDS } from '../output/format.ts'
import type { Printer } from '../output/printer.ts'
import {
  endFields,
  lostAtOutput,
  nothingForwarded,
  statisticsLine,
  statisticsRecord,
  statisticsTable,
  withoutFinalOutage,
} from '../output/statistics.ts'
import { statusIn, vmState } from '../output/vm-events.ts'
import { type PlannedEnd, writtenHeaderLength } from './ends.ts'
import type { Names } from './open.ts'
import type { RunPlan } from './plan.ts'

/** Why a run ended. */
export type End = 'stopped' | 'duration' | 'count' | 'input_closed' | 'failed'

export class Report {
  readonly #plan: RunPlan
  readonly #printer: Printer
  #names: Names = { input: '', output: '' }
  #startedNs = nowNs()

  constructor(plan: RunPlan, printer: Printer) {
    this.#plan = plan
    this.#printer = printer
  }

  /** As soon as they are known. */
  set names(names: Names) {
    this.#names = names
  }

  ready({ timeNs }: RedirectorEvent, statistics: Statistics, monitor: Monitor | undefined): void {
    const { input, output, queue, latency, mark } = this.#plan
    const captures = input.kind === 'netdev'
    const names = [atReady(this.#names.input, input), atReady(this.#names.output, output)]
    const printer = this.#printer
    this.#startedNs = timeNs
    const parts = [
      printer.stderrColors.bold(names.join(' -> ')),
      captures ? QUEUE_IN_WORDS[queue] : 'every frame that comes in',
      ...(this.#plan.hold === undefined ? [] : [holdInWords(this.#plan.hold)]),
      this.#gateInWords(statistics, monitor),
    ]
    printer.always(`${printer.stderrColors.green('ready')}: ${parts.join(', ')}`)
    printer.detail(
      [
        ...(captures ? [`queue ${queue}`, `latency ${latency}`] : []),
        `engine ${statistics.engine}`,
        ...(captures || output.kind === 'netdev' ? [`mark 0x${mark.toString(16)}`] : []),
        ...(captures ? [] : [`indev ${headersInWords(input.vnetHdrSupport, input.vnetHdrLength)}`]),
        ...(output.kind === 'netdev'
          ? []
          : [`outdev ${headersInWords(output.vnetHdrSupport, writtenHeaderLength(input, output))}`]),
      ].join(', '),
    )
    const { gate, status, running } = statisticsRecord(statistics)
    const vmStatus = monitor?.status
    printer.record(
      'ready',
      {
        ...endFields(statistics),
        queue: captures ? queue : undefined,
        gate,
        status,
        running,
        vm_status: vmStatus,
      },
      timeNs,
    )
  }

  statistics(statistics: Statistics, form: 'line' | 'table'): void {
    const printer = this.#printer
    printer.record('statistics', statisticsRecord(statistics))
    if (printer.json) return
    if (form === 'line') printer.event(statisticsLine(statistics), nowNs())
    else printer.block(`statistics: ${this.#title()}`, statisticsTable(statistics, printer.stderrColors))
  }

  /** `failure`: what the run ends with, which is told next. */
  summary(statistics: Statistics, end: End, failure?: TapferryError): void {
    const printer = this.#printer
    const elapsed = Math.round(this.#elapsedMs())
    printer.record('summary', { end, elapsed_ms: elapsed, ...statisticsRecord(statistics) })
    if (!printer.json) {
      const table = statisticsTable(whatToSum(statistics, end, failure), printer.stderrColors)
      printer.block(`summary: ${this.#title()}`, table)
    }
    const nothing = nothingForwarded(statistics, this.#plan)
    if (nothing !== undefined) printer.warning(nothing)
    const lost = lostAtOutput(statistics)
    if (lost !== undefined) printer.warning(lost)
  }

  /** All but `ready`. */
  redirectorEvent({ type, message, timeNs, code, netdev, stream }: RedirectorEvent): void {
    const printer = this.#printer
    printer.record('event', { event: type, message, code, netdev, stream }, timeNs)
    // The failure itself is told by whoever ends the run.
    if (type === 'failed') return
    if (type === 'warning' || isOutage(type) || code !== undefined) printer.warning(message, timeNs)
    else printer.event(message, timeNs)
  }

  monitorEvent(event: MonitorEvent, monitor: Monitor | undefined): void {
    const printer = this.#printer
    switch (event.type) {
      case 'run_state': {
        const { running, status, cause } = event
        const timeNs = event.atNs ?? nowNs()
        printer.event(vmState(running, status), timeNs)
        printer.record('event', { event: 'run_state', running, status, cause }, timeNs)
        return
      }
      case 'vm_event': {
        const status = statusIn(event.data)
        printer.detail(`VM event ${event.name}${status === undefined ? '' : ` (${status})`}`, event.timeNs)
        printer.record('event', { event: 'vm_event', name: event.name, status }, event.timeNs)
        return
      }
      case 'lost':
        printer.warning(`monitor lost: ${event.reason}; the gate stays as it is, trying again`, nowNs())
        printer.record('event', { event: 'monitor_lost', message: event.reason })
        return
      case 'regained':
        printer.event(`monitor regained: VM ${monitor?.status}`, nowNs())
        printer.record('event', { event: 'monitor_regained', status: monitor?.status })
    }
  }

  #gateInWords({ gate, status }: Statistics, monitor: Monitor | undefined): string {
    const { green, yellow } = this.#printer.stderrColors
    const why = !status ? 'status=off' : monitor ? `VM ${monitor.status}` : 'no monitor'
    return `gate ${(gate === 'open' ? green : yellow)(gate)} (${why})`
  }

  #title(): string {
    const elapsed = formatDuration(this.#elapsedMs())
    return `${this.#names.input} -> ${this.#names.output}, ${elapsed}`
  }

  #elapsedMs(): number {
    return Number(nowNs() - this.#startedNs) / 1e6
  }
}

/** A server's peer comes when it likes: that is told as an event. */
function atReady(name: string, end: PlannedEnd): string {
  return end.kind === 'stream' && end.server ? `${name} (listening)` : name
}

function headersInWords(announced: boolean, length: number | undefined): string {
  const headers =
    length === undefined ? 'headers as they come' : length === 0 ? 'no headers' : `headers of ${length} bytes`
  return `vnet_hdr_support=${announced ? 'on' : 'off'} (${headers})`
}

/** Without what the end itself tells. */
function whatToSum(statistics: Statistics, end: End, failure: TapferryError | undefined): Statistics {
  const { lastError, ...rest } =
    end === 'stopped' || end === 'duration' ? statistics : withoutFinalOutage(statistics)
  return lastError === undefined || lastError === failure?.message ? rest : { ...rest, lastError }
}

/** Frames are being lost, or do not come: told in a quiet run, too. */
function isOutage(type: RedirectorEvent['type']): boolean {
  return type.endsWith('_down') || type.endsWith('_missing')
}
