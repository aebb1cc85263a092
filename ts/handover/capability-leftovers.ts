/**
 * The migration capability `events` that a killed source had switched on: harmless, and off again as soon as somebody
 * starts next or asks for `tapferry handover cleanup`, if the same VM still answers at the same monitor.
 *
 *     /run/tapferry/handover-PID-events.json     from before it is switched on to after it is off again
 */

import { resolve } from 'node:path'
import { TapferryError } from '../errors.ts'
import { startTimeOf } from '../host/processes.ts'
import { formatMonitorAddress, Monitor, parseMonitorAddress } from '../monitor/index.ts'
import type { Printer } from '../output/printer.ts'
import {
  type Owner,
  recordDirectories,
  recordsOfTheGone,
  removeRecord,
  thisProcess,
  writeRecord,
} from './records.ts'

/** How long the monitor may take for its greeting: one that has another client would never send it. */
const PATIENCE_MS = 1_000

/** Nobody listens there any more. */
const GONE: ReadonlySet<string> = new Set(['MONITOR_NOT_FOUND', 'MONITOR_REFUSED'])

export interface CapabilityRecord extends Owner {
  /** The VM's, from any directory. */
  readonly monitor: string
  /** The VM's process, told apart from a later one of that number. */
  readonly vmPid: number
  readonly vmStartTime: string
}

export interface CapabilityLeftover {
  readonly record: CapabilityRecord
  /** `none`: the VM has ended, or its monitor is gone for good. */
  readonly action: 'restored' | 'none' | 'failed'
  readonly problem?: TapferryError
}

/** Written before the capability is switched on. */
export class CapabilityNote {
  readonly #directories: readonly string[]
  #record: CapabilityRecord | undefined
  #file: string | undefined

  constructor(directories: readonly string[] = recordDirectories()) {
    this.#directories = directories
  }

  /** Without a process that can be told there is no knowing later whether the VM is the same, and no record. */
  async write(monitor: Monitor): Promise<void> {
    const vmPid = (await monitor.process())?.pid
    const vmStartTime = vmPid === undefined ? undefined : await startTimeOf(vmPid)
    if (vmPid === undefined || vmStartTime === undefined) return
    this.#record = {
      ...(await thisProcess()),
      ...{ monitor: absolute(monitor.address), vmPid, vmStartTime },
    }
    this.#file = await writeRecord(`handover-${process.pid}-events.json`, this.#record, this.#directories)
  }

  /** It is as it was; or it is not, but the VM has ended. */
  async remove({ isRestored }: { isRestored: boolean }): Promise<void> {
    if (this.#file === undefined || this.#record === undefined) return
    if (isRestored || !(await isVmThere(this.#record))) await removeRecord(this.#file)
  }
}

/** Looks at the records of processes that are gone, does what can be done, and removes them. */
export async function restoreCapabilities(
  directories: readonly string[] = recordDirectories(),
): Promise<CapabilityLeftover[]> {
  const leftovers: CapabilityLeftover[] = []
  for await (const { file, record } of recordsOfTheGone(
    directories,
    /^handover-\d+-events\.json$/,
    isRecord,
  )) {
    const leftover = await restore(record)
    if (leftover.action !== 'failed') await removeRecord(file)
    leftovers.push(leftover)
  }
  return leftovers
}

async function restore(record: CapabilityRecord): Promise<CapabilityLeftover> {
  let monitor: Monitor | undefined
  try {
    if (!(await isVmThere(record))) return { record, action: 'none' }
    monitor = await Monitor.connect({ address: record.monitor, connectTimeoutMs: PATIENCE_MS })
    // Another VM may listen there by now.
    if ((await monitor.process())?.pid !== record.vmPid) return { record, action: 'none' }
    await setMigrationEvents(monitor, false)
    return { record, action: 'restored' }
  } catch (error) {
    const problem = TapferryError.from(error)
    return GONE.has(problem.code) ? { record, action: 'none' } : { record, action: 'failed', problem }
  } finally {
    await monitor?.close()
  }
}

/** By migrate-set-capabilities (QEMU's QMP reference). */
export async function setMigrationEvents(monitor: Monitor, state: boolean): Promise<void> {
  const capabilities = [{ capability: 'events', state }]
  await monitor.command('migrate-set-capabilities', { capabilities })
}

async function isVmThere({ vmPid, vmStartTime }: CapabilityRecord): Promise<boolean> {
  return (await startTimeOf(vmPid)) === vmStartTime
}

function absolute(address: string): string {
  const parsed = parseMonitorAddress(address)
  return formatMonitorAddress(parsed.kind === 'unix' ? { ...parsed, path: resolve(parsed.path) } : parsed)
}

function isRecord({ monitor, vmPid, vmStartTime }: Partial<CapabilityRecord>): boolean {
  return (
    typeof monitor === 'string' &&
    Number.isSafeInteger(vmPid) &&
    Number(vmPid) > 0 &&
    typeof vmStartTime === 'string'
  )
}

export function tellCapabilities(leftovers: readonly CapabilityLeftover[], printer: Printer): void {
  for (const { record, action, problem } of leftovers) {
    const whose = `a handover that was killed (process ${record.pid})`
    const what = `the migration capability 'events' of the VM at ${record.monitor}`
    if (problem !== undefined) {
      const message = `${what} is still on, as ${whose} had left it, which does no harm: ${problem.message}`
      printer.notice(message)
      printer.hint(problem.hint)
      printer.record('event', { event: 'leftover', message, code: problem.code })
      continue
    }
    const message =
      action === 'restored'
        ? `${what} is off again: ${whose} had switched it on`
        : `${what} is nothing to care about any more: the VM, or its monitor, is gone`
    printer.notice(message)
    printer.record('event', { event: 'leftover', message })
  }
}
