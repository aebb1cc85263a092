/** The VMs of this host, their TAPs, and the monitors that could be suggested. */

import { Monitor } from '../../monitor/index.ts'
import { findVms, type VmProcess } from '../../vm/discover.ts'
import { tapsOf } from '../../vm/taps.ts'
import type { End, MonitorFacts, Vm } from '../facts.ts'
import { plainAddress, vmsOf } from '../vms.ts'

/** How long a monitor that nobody asked about may take for its greeting. */
const OTHERS_PATIENCE_MS = 300

export async function findVmsWithTaps(): Promise<Vm[]> {
  const found = (await findVms()).map(async process => ({
    process,
    taps: await tapsOf(process.pid),
    freeMonitors: [],
  }))
  return Promise.all(found)
}

/** What a wrong address meets; otherwise it is the right monitor, whatever is the matter with it. */
const WRONG_ADDRESS: ReadonlySet<string> = new Set([
  'MONITOR_NOT_FOUND',
  'MONITOR_REFUSED',
  'MONITOR_NOT_QMP',
])

/** Of the VMs that an end is of; of all, if a wrong address is everything that is known. */
export async function withFreeMonitors(
  vms: readonly Vm[],
  monitor: MonitorFacts | undefined,
  ends: readonly (End | undefined)[],
): Promise<readonly Vm[]> {
  if (monitor !== undefined && !WRONG_ADDRESS.has(monitor.problem?.code ?? '')) return vms
  const owners = ends.flatMap(end => vmsOf(end, vms))
  const unknown = monitor !== undefined && ends.every(end => end?.facts === undefined)
  const asked = new Set(owners.length > 0 || !unknown ? owners : vms)
  return Promise.all(
    vms.map(async vm => (asked.has(vm) ? { ...vm, freeMonitors: await freeMonitorsOf(vm.process) } : vm)),
  )
}

async function freeMonitorsOf({ places }: VmProcess): Promise<string[]> {
  const free: string[] = []
  for (const { address, manager } of places) {
    if (manager !== undefined) continue
    try {
      const connection = await Monitor.connect({ address, connectTimeoutMs: OTHERS_PATIENCE_MS })
      await connection.close()
      free.push(plainAddress(address))
    } catch {
      // Held, closed to this user, or gone: it is no help.
    }
  }
  return free
}
