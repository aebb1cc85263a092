/** One migration, over QMP as an operator does it. */

import { setTimeout as sleep } from 'node:timers/promises'
import { Unavailable } from '../../test/support/testbed.ts'
import type { Vm } from '../../test/support/vm.ts'
import type { Host } from './network.ts'
import { downtimeLimit } from './pace.ts'
import type { Course, Variant } from './variants.ts'
import { Watch } from './watch.ts'

const PORT = 4_444
/** So high that the network between the hosts is what limits the migration, bytes a second. */
const BANDWIDTH = 1_000_000_000
/** So low that most of the VM is still to come when it has been paused, or runs at the destination. */
const SLOW = 2_000_000
/** A pause, and what is before it and after it, ms. */
const PAUSE_MS = 300

export interface Migration {
  /** Where the guest is afterwards. */
  readonly vm: Vm
  /** The last STOP and the RESUME after it, as the VMs say: CLOCK_REALTIME, ns. */
  readonly stoppedNs: bigint
  readonly resumedNs: bigint
  /** From `migrate` until it was complete or cancelled. */
  readonly totalMs: number
}

/** `begun` is called when the source has begun to migrate, and awaited at the end. */
export async function migrate(
  source: Vm,
  destination: Vm,
  to: Host,
  { course, downtimeMs }: Variant,
  begun: () => Promise<void>,
): Promise<Migration> {
  const leaving = new Watch(source, 'the source')
  const arriving = new Watch(destination, 'the destination')
  await prepare(source, course)
  await prepare(destination, { ...course, cancelled: false })
  const limits = {
    'downtime-limit': downtimeLimit(downtimeMs),
    'max-bandwidth': course.paused || course.postcopy ? SLOW : BANDWIDTH,
  }
  await source.command('migrate-set-parameters', limits)
  const uri = `tcp:${to.migrationAddress}:${PORT}`
  await destination.command('migrate-incoming', { uri })
  const started = performance.now()
  await source.command('migrate', { uri })
  await leaving.status('active')
  const beginning = begun()
  // It is awaited below; what fails until then is not to end the process.
  beginning.catch(() => {})

  if (course.paused) await pause(source)
  if (course.postcopy) {
    await sleep(PAUSE_MS)
    await source.command('migrate-start-postcopy')
  }
  if (course.cancelled) {
    await leaving.status('pre-switchover')
    await sleep(downtimeMs)
    await source.command('migrate_cancel')
    await leaving.status('cancelled')
  } else {
    await leaving.status('completed')
    if (course.source === 'quits') await source.command('quit').catch(goneBeforeItsAnswer)
    if (course.source === 'is killed') await source.kill()
  }
  const totalMs = performance.now() - started
  const stoppedNs = await leaving.change(false)
  const resumedNs = await (course.cancelled ? leaving : arriving).change(true)
  await beginning
  return { vm: course.cancelled ? source : destination, stoppedNs, resumedNs, totalMs }
}

/** As an operator does, while the VM's memory is on its way. */
async function pause(vm: Vm): Promise<void> {
  for (const command of ['stop', 'cont']) {
    await sleep(PAUSE_MS)
    await vm.command(command)
  }
  await sleep(PAUSE_MS)
  await vm.command('migrate-set-parameters', { 'max-bandwidth': BANDWIDTH })
}

/** Rejects with Unavailable where a postcopy is to be and cannot: it takes userfaultfd(2). */
async function prepare(vm: Vm, { cancelled, postcopy }: Course): Promise<void> {
  const capabilities = [
    { capability: 'events', state: true },
    { capability: 'pause-before-switchover', state: cancelled },
    { capability: 'postcopy-ram', state: postcopy },
  ]
  await vm.command('migrate-set-capabilities', { capabilities }).catch((error: Error) => {
    throw /postcopy is not supported/i.test(error.message) ? new Unavailable(error.message) : error
  })
}

/** QEMU may end before its answer to `quit` is read. */
function goneBeforeItsAnswer(error: { code?: string }): void {
  if (error.code !== 'MONITOR_LOST') throw error
}
