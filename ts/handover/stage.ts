/**
 * What both sides of a handover do before it and after it: what a killed one has left is put right, the monitor is
 * connected, the netdevs are found, what is going to be changed is written down; and at the end all of it is undone.
 */

import { ExitStatus, TapferryError } from '../errors.ts'
import { Monitor } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import { summaryBlocks } from '../output/handover-summary.ts'
import type { Printer } from '../output/printer.ts'
import { catchStopSignals, stopRequested } from '../signals.ts'
import { restoreCapabilities, tellCapabilities } from './capability-leftovers.ts'
import { Chronicle } from './chronicle.ts'
import { putLeftoversRight, Records, tellLeftovers } from './leftovers.ts'
import type { HandoverPlan } from './plan.ts'
import type { HandoverReport } from './report/shape.ts'
import { checkReportFile, writeReport } from './report/write.ts'
import { findNetdevs, type HandoverNetdev, identify, type VmIdentity } from './vm.ts'

/** Node ends when nothing is pending, and threads of the addon do not count; any long interval does. */
const KEEP_ALIVE_MS = 3_600_000

export interface Stage {
  readonly plan: HandoverPlan
  readonly printer: Printer
  readonly chronicle: Chronicle
  readonly monitor: Monitor
  readonly vm: VmIdentity
  readonly netdevs: readonly HandoverNetdev[]
}

/** Sets the stage, and clears it whatever happens on it. A stop before it is set is a good end. */
export async function onStage(
  plan: HandoverPlan,
  printer: Printer,
  perform: (stage: Stage) => Promise<void>,
): Promise<ExitStatus> {
  catchStopSignals()
  const keepAlive = setInterval(() => {}, KEEP_ALIVE_MS)
  const records = new Records()
  let monitor: Monitor | undefined
  try {
    // Before anything is opened: a missing addon is the same failure with and without a VM.
    const binding = loadBinding()
    // What waits for a processor is overtaken, and so is what the VM tells.
    if (!binding.goFirst()) printer.detail('other processes go before this one: it lacks CAP_SYS_NICE')
    if (plan.reportFile !== undefined) await checkReportFile(plan.reportFile)
    tellLeftovers(await putLeftoversRight(), printer)
    tellCapabilities(await restoreCapabilities(), printer)
    monitor = await connect(plan, printer)
    const vm = await identify(monitor)
    const netdevs = await findNetdevs(plan, monitor, printer, stopRequested)
    // Only where the VM arrives is anything changed that would outlive this process.
    if (plan.side === 'destination') await writeDown(netdevs, records, printer)
    const chronicle = new Chronicle(printer)
    await perform({ plan, printer, chronicle, monitor, vm, netdevs }).finally(() => {
      const left = chronicle.warnings.filter(({ code }) => code === 'queue_left_long')
      for (const { id, interface: name } of netdevs) {
        if (left.some(({ netdev }) => netdev === id)) records.leave(name)
      }
    })
    return ExitStatus.Done
  } catch (error) {
    if (isStop(error)) return ExitStatus.Done
    throw error
  } finally {
    await records.remove()
    await monitor?.close()
    clearInterval(keepAlive)
  }
}

async function connect({ monitor: address, wait }: HandoverPlan, printer: Printer): Promise<Monitor> {
  const monitor = await Monitor.connect({
    ...{ address, wait, signal: stopRequested },
    onWaiting: reason => printer.notice(`waiting for the monitor: ${reason.message}`),
  })
  printer.detail(`monitor ${monitor.address}: VM ${monitor.status}`)
  return monitor
}

async function writeDown(
  netdevs: readonly HandoverNetdev[],
  records: Records,
  printer: Printer,
): Promise<void> {
  const written = await Promise.all(netdevs.map(({ interface: name, netns }) => records.write(name, netns)))
  if (written.every(Boolean)) return
  printer.notice(
    'neither /run/tapferry nor $XDG_RUNTIME_DIR can be written to: if this is killed, a raised queue length stays, and so may an open gate',
  )
}

/** The wait that a stop has ended rejects with the signal's reason. */
function isStop(error: unknown): boolean {
  if (!stopRequested.aborted) return false
  return error === stopRequested.reason || (error as Error | undefined)?.name === 'AbortError'
}

/** Tells how it ended, writes that down, and rejects where it is a failure. */
export async function conclude(
  { plan, printer }: Stage,
  report: HandoverReport,
  isGone: boolean,
): Promise<void> {
  printer.object(report)
  if (!printer.json) {
    for (const { heading, lines } of summaryBlocks(report, printer.stderrColors))
      printer.block(heading, lines)
  }
  if (plan.reportFile !== undefined) await writeReport(plan.reportFile, report)
  // A requested stop is a good end, whatever it cut short: the summary has said what.
  if (report.outcome !== 'failed' || stopRequested.aborted) return
  const { netdev = '', reason } = report.netdevs.find(({ outcome }) => outcome === 'failed') ?? {}
  throw new TapferryError(
    isGone ? 'VM_GONE' : 'HANDOVER_FAILED',
    `the handover of ${netdev || 'a netdev'} has failed: ${reason ?? 'it did not end by itself'}`,
    isGone
      ? 'look why the VM has ended; there was no migration'
      : 'the summary tells which frames were lost and where',
  )
}
