/** What a VM's monitor tells, in words. */

import type { MonitorEvent } from '../monitor/index.ts'
import { nowNs } from './format.ts'
import type { Printer } from './printer.ts'

type RunStateEvent = Extract<MonitorEvent, { type: 'run_state' }>

export function tellRunState({ running, status, cause, atNs }: RunStateEvent, printer: Printer): void {
  const timeNs = atNs ?? nowNs()
  printer.event(vmState(running, status), timeNs)
  printer.record('event', { event: 'run_state', running, status, cause }, timeNs)
}

/** `status`: QEMU's RunState. */
function vmState(running: boolean, status: string): string {
  if (running) return 'VM running'
  return status === 'stopped' ? 'VM stopped' : `VM stopped (${status})`
}

/** The `status` in the data of MIGRATION and its like. */
export function statusIn(data: unknown): string | undefined {
  const status = (data as { status?: unknown } | null | undefined)?.status
  return typeof status === 'string' ? status : undefined
}
