/** The migrations of one variant: the guest boots once, and then goes to and fro. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestImage, Vm } from '../../test/support/vm.ts'
import type { Cleanup } from './cleanup.ts'
import { type Ferried, Ferry } from './ferries.ts'
import { Machines } from './machine.ts'
import { migrate } from './migrate.ts'
import { build, type Host, type Network } from './network.ts'
import { megabits } from './pace.ts'
import { starve } from './starve.ts'
import { type Counts, Flows } from './traffic.ts'
import type { Variant } from './variants.ts'

/** Frames flow for so long before `migrate`, ms. */
const BEFORE_MS = 1_000
/** And after the guest runs again: QEMU announces it until 0.45 s later. */
const AFTER_MS = 2_000

/** One migration. */
export interface Row extends Counts {
  readonly variant: string
  readonly number: number
  readonly from: Host['name']
  readonly to: Host['name']
  /** From STOP to RESUME. */
  readonly downtimeMs: number
  readonly totalMs: number
  /** With everything before and after it. */
  readonly wallMs: number
  /** What tapferry says of it, where it took part. */
  readonly source?: Ferried
  readonly destination?: Ferried
}

export interface Wanted {
  readonly variant: Variant
  readonly migrations: number
  readonly ferries: boolean
}

export async function* rounds(image: GuestImage, wanted: Wanted, cleanup: Cleanup): AsyncGenerator<Row> {
  const { machine, course, downtimeMs } = wanted.variant
  const directory = await mkdtemp(join(tmpdir(), 'tapferry-migration-'))
  cleanup.add(() => rm(directory, { recursive: true, force: true }))
  const network = await build({ queues: machine.queues ?? 1, migrationMbit: megabits(downtimeMs) }, cleanup)
  const machines = new Machines(directory, image, machine, cleanup)
  let [here, there] = network.hosts
  let guest = await machines.boot(here)
  if (course.starved) starve(cleanup)
  for (let number = 1; number <= wanted.migrations; number += 1) {
    const begun = performance.now()
    const waiting = await machines.incoming(there)
    const round = { network, directory, here, there, guest, waiting }
    const { vm, ...measured } = await migrateOnce(round, wanted, cleanup)
    const { name: from } = here
    const { name: to } = there
    await (vm === waiting ? guest : waiting).kill()
    if (vm === waiting) [here, there] = [there, here]
    guest = vm
    const wallMs = performance.now() - begun
    yield { variant: wanted.variant.name, number, from, to, ...measured, wallMs }
  }
}

interface Round {
  readonly network: Network
  readonly directory: string
  readonly here: Host
  readonly there: Host
  readonly guest: Vm
  readonly waiting: Vm
}

type Measured = Omit<Row, 'variant' | 'number' | 'from' | 'to' | 'wallMs'>

async function migrateOnce(
  { network, directory, here, there, guest, waiting }: Round,
  { variant, ferries }: Wanted,
  cleanup: Cleanup,
): Promise<Measured & { vm: Vm }> {
  const { lateDestination } = variant.course
  const receive = () => Ferry.destination(there, waiting, directory, cleanup)
  let destination = ferries && !lateDestination ? receive() : undefined
  const source = ferries ? Ferry.source(here, there, guest, directory, cleanup) : undefined
  await Promise.all([source?.ready(), destination?.ready()])

  const flows = await Flows.start(network.client, guest, variant.traffic)
  await sleep(BEFORE_MS)
  const { vm, stoppedNs, resumedNs, totalMs } = await migrate(guest, waiting, there, variant, async () => {
    if (!ferries || !lateDestination) return
    destination = receive()
    await destination.ready()
  })
  await sleep(AFTER_MS)
  const [counts, ferriedSource, ferriedDestination] = await Promise.all([
    flows.end(vm, { stoppedNs, resumedNs }),
    source?.end(),
    destination?.end(),
  ])
  return {
    vm,
    ...counts,
    downtimeMs: Number(resumedNs - stoppedNs) / 1e6,
    totalMs,
    ...(ferriedSource && { source: ferriedSource }),
    ...(ferriedDestination && { destination: ferriedDestination }),
  }
}
