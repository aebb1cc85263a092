/** What happens in a handover, told as it comes: to people on stderr, to programs on stdout. It changes nothing. */

import type { HandoverEvent } from '../binding.ts'
import type { Monitor, MonitorEvent } from '../monitor/index.ts'
import { nowNs } from '../output/format.ts'
import type { Printer } from '../output/printer.ts'
import { statusIn, tellRunState } from '../output/vm-events.ts'
import type { ReportedWarning } from './report/shape.ts'
import type { HandoverNetdev } from './vm.ts'

export class Chronicle {
  /** For the report. */
  readonly warnings: ReportedWarning[] = []
  readonly #printer: Printer
  #isReady = false

  constructor(printer: Printer) {
    this.#printer = printer
  }

  /** Once. `where`: what is on the other side of the arrow; `state`: `armed`, `gated`. */
  ready(
    netdevs: readonly HandoverNetdev[],
    { to, from, state, monitor }: { to?: string; from?: string; state: string; monitor: Monitor },
  ): void {
    if (this.#isReady) return
    this.#isReady = true
    const { bold, green } = this.#printer.stderrColors
    const titles = netdevs.map(({ title }) => title).join(', ')
    const way = from === undefined ? `${titles} -> ${to}` : `${from} -> ${titles}`
    this.#printer.always(`${green('ready')}: ${bold(way)}, ${state}`)
    for (const { id, interface: name, netns } of netdevs) {
      this.#printer.record('ready', {
        ...{ netdev: id, interface: name, netns, to, from, state, vm_status: monitor.status },
      })
    }
  }

  /** Whatever the core tells; its end is for others. */
  handoverEvent({ type, netdev, state, timeNs, message, code }: HandoverEvent): void {
    if (type === 'ready') return
    const printer = this.#printer
    const line = netdev === undefined ? message : `${netdev}: ${message}`
    printer.record('event', { event: type, netdev, state: state || undefined, message, code }, timeNs)
    switch (type) {
      case 'waiting':
        printer.notice(line)
        return
      case 'state':
        if (this.#isReady) printer.event(line, timeNs)
        else printer.detail(line, timeNs)
        return
      case 'link_back':
        printer.event(line, timeNs)
        return
      case 'ended':
        printer.detail(line, timeNs)
        return
      default:
        printer.warning(line, timeNs)
        this.warnings.push({
          ...{ netdev: netdev ?? null, code: code ?? type, time_ns: String(timeNs), message },
        })
    }
  }

  /** Something that this side noticed itself. */
  warn(code: string, message: string, netdev?: string): void {
    this.handoverEvent({
      ...{ type: 'warning', state: '', timeNs: nowNs(), message, code },
      ...(netdev === undefined ? {} : { netdev }),
    })
  }

  monitorEvent(event: MonitorEvent, monitor: Monitor): void {
    const printer = this.#printer
    switch (event.type) {
      case 'run_state':
        tellRunState(event, printer)
        return
      case 'vm_event': {
        const { name, timeNs } = event
        const status = statusIn(event.data)
        if (name === 'MIGRATION') printer.event(`migration: ${status}`, timeNs)
        else printer.detail(`VM event ${name}${status === undefined ? '' : ` (${status})`}`, timeNs)
        printer.record('event', { event: 'vm_event', name, status }, timeNs)
        return
      }
      case 'lost':
        printer.event(`monitor lost: ${event.reason}; trying again`, nowNs())
        printer.record('event', { event: 'monitor_lost', message: event.reason })
        return
      case 'regained':
        printer.event(`monitor regained: VM ${monitor.status}`, nowNs())
        printer.record('event', { event: 'monitor_regained', status: monitor.status })
    }
  }
}
