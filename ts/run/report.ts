/** What a run tells of a redirector: to people on stderr, to programs on stdout. It changes nothing. */

import type { RedirectorEvent, Statistics } from '../binding.ts'
import type { TapferryError } from '../errors.ts'
import type { Monitor, MonitorEvent } from '../monitor/index.ts'
import { formatDuration, holdInWords, nowNs, QUEUE_IN_WORDS } from '../output/format.ts'
import type { Printer, RecordFields } from '../output/printer.ts'
import {
  endFields,
  lostAtOutput,
  nothingForwarded,
  statisticsLine,
  statisticsRecord,
  statisticsTable,
  withoutFinalOutage,
} from '../output/statistics.ts'
import { statusIn, tellRunState } from '../output/vm-events.ts'
import { type PlannedEnd, writtenHeaderLength } from './ends.ts'
import type { Names } from './open.ts'
import type { RunPlan } from './plan.ts'

/** Why a run ended. */
export type End = 'stopped' | 'duration' | 'count' | 'input_closed' | 'failed'

export class Report {
  readonly #plan: RunPlan
  readonly #label: string
  readonly #printer: Printer
  #names: Names = { input: '', output: '' }
  #startedNs = nowNs()

  /** `label`: before its lines, where there are others beside it. */
  constructor(plan: RunPlan, label: string, printer: Printer) {
    this.#plan = plan
    this.#label = label
    this.#printer = printer
  }

  /** As soon as they are known. */
  set names(names: Names) {
    this.#names = names
  }

  /** What the line `ready` says of it. */
  readyInWords(statistics: Statistics, monitor: Monitor | undefined): string {
    const { input, output, queue, hold } = this.#plan
    const names = [atReady(this.#names.input, input), atReady(this.#names.output, output)]
    const parts = [
      this.#label + this.#printer.stderrColors.bold(names.join(' -> ')),
      input.kind === 'netdev' ? QUEUE_IN_WORDS[queue] : 'every frame that comes in',
      ...(hold === undefined ? [] : [holdInWords(hold)]),
      this.#gateInWords(statistics, monitor),
    ]
    return parts.join(', ')
  }

  /** After that line. */
  ready({ timeNs }: RedirectorEvent, statistics: Statistics, monitor: Monitor | undefined): void {
    const { input, output, queue, latency, mark } = this.#plan
    const captures = input.kind === 'netdev'
    const printer = this.#printer
    this.#startedNs = timeNs
    const details = [
      ...(captures ? [`queue ${queue}`, `latency ${latency}`] : []),
      `engine ${statistics.engine}`,
      ...(captures || output.kind === 'netdev' ? [`mark 0x${mark.toString(16)}`] : []),
      ...(input.kind === 'stream'
        ? [`indev ${headersInWords(input.vnetHdrSupport, input.vnetHdrLength)}`]
        : []),
      ...(output.kind === 'stream'
        ? [`outdev ${headersInWords(output.vnetHdrSupport, writtenHeaderLength(input, output))}`]
        : []),
    ]
    printer.detail(this.#label + details.join(', '))
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
        ...this.#object,
      },
      timeNs,
    )
  }

  statistics(statistics: Statistics, form: 'line' | 'table'): void {
    const printer = this.#printer
    printer.record('statistics', { ...this.#object, ...statisticsRecord(statistics) })
    if (printer.json) return
    if (form === 'line') printer.event(this.#label + statisticsLine(statistics), nowNs())
    else printer.block(`statistics: ${this.#title()}`, statisticsTable(statistics, printer.stderrColors))
  }

  /** `failure`: what the run ends with, which is told next. */
  summary(statistics: Statistics, end: End, failure?: TapferryError): void {
    const printer = this.#printer
    const elapsed = Math.round(this.#elapsedMs())
    printer.record('summary', { ...this.#object, end, elapsed_ms: elapsed, ...statisticsRecord(statistics) })
    if (!printer.json) {
      const table = statisticsTable(whatToSum(statistics, end, failure), printer.stderrColors)
      printer.block(`summary: ${this.#title()}`, table)
    }
    const nothing = nothingForwarded(statistics, this.#plan)
    if (nothing !== undefined) printer.warning(this.#label + nothing)
    const lost = lostAtOutput(statistics)
    if (lost !== undefined) printer.warning(this.#label + lost)
  }

  /** All but `ready`. */
  redirectorEvent({ type, message, timeNs, code, netdev, stream }: RedirectorEvent): void {
    const printer = this.#printer
    printer.record('event', { ...this.#object, event: type, message, code, netdev, stream }, timeNs)
    const line = this.#label + message
    // The failure itself is told by whoever ends the run.
    if (type === 'failed') return
    if (type === 'warning' || isOutage(type) || code !== undefined) printer.warning(line, timeNs)
    else printer.event(line, timeNs)
  }

  #gateInWords({ gate, status }: Statistics, monitor: Monitor | undefined): string {
    const { green, yellow } = this.#printer.stderrColors
    const why = !status ? 'status=off' : monitor ? `VM ${monitor.status}` : 'no monitor'
    return `gate ${(gate === 'open' ? green : yellow)(gate)} (${why})`
  }

  /** Where the plan is an object of QEMU's, for programs. */
  get #object(): RecordFields {
    return { object: this.#plan.object?.id }
  }

  #title(): string {
    const elapsed = formatDuration(this.#elapsedMs())
    return `${this.#label}${this.#names.input} -> ${this.#names.output}, ${elapsed}`
  }

  #elapsedMs(): number {
    return Number(nowNs() - this.#startedNs) / 1e6
  }
}

/** What a run tells of its VM. */
export function reportMonitorEvent(
  event: MonitorEvent,
  monitor: Monitor | undefined,
  printer: Printer,
): void {
  switch (event.type) {
    case 'run_state':
      tellRunState(event, printer)
      return
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
