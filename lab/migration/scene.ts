/** A guest in its network, booted once: it migrates to and fro, each time as a variant says. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run, TAPFERRY } from '../../test/support/cli.ts'
import { makeCredentials } from '../../test/support/credentials.ts'
import type { GuestImage, Vm } from '../../test/support/vm.ts'
import type { Cleanup } from './cleanup.ts'
import { type Drops, DropWatch } from './drops.ts'
import { credentialsIn, type Ferried, Ferry } from './ferries.ts'
import type { Kill } from './kills.ts'
import { Machines } from './machine.ts'
import { migrate } from './migrate.ts'
import { build, type Host, type Network, setQueues } from './network.ts'
import { megabits } from './pace.ts'
import { added, type Traces, tracesOn } from './traces.ts'
import { type Counts, Flows } from './traffic.ts'
import type { Variant } from './variants.ts'

/** Frames flow for so long before `migrate`, ms. */
const BEFORE_MS = 1_000
/** And after the guest runs again: QEMU announces it until 0.45 s later. */
const AFTER_MS = 2_000
/** Where one side is gone: until the guest has run for long enough to show that it works. */
const AFTER_KILL_MS = 4_000

/** What a TAP's queue holds by default. */
const QUEUE = 1_000
/**
 * Where a migration begins, QEMU reads nothing for 0.2 s, and for longer on a busy machine. What is lost by that is lost with
 * tapferry and without, and would only hide what the switchover costs. Frames that wait for a second would be older than
 * what tapferry has captured when the guest stops.
 */
const LONG_QUEUE = 5_000

/** One migration. */
export interface Row extends Counts {
  readonly variant: string
  /** With tapferry on both hosts. */
  readonly ferried: boolean
  readonly number: number
  readonly from: Host['name']
  readonly to: Host['name']
  /** From STOP to RESUME. */
  readonly downtimeMs: number
  readonly totalMs: number
  /** With everything before and after it. */
  readonly wallMs: number
  readonly dropped: Drops
  /** What tapferry says of it, where it took part. */
  readonly source?: Ferried
  readonly destination?: Ferried
  /** What is on the hosts when both sides have ended, and was not there before. */
  readonly left: readonly string[]
  readonly killed?: Killed
}

/** One side was killed: what became of the other, and of the hosts. */
export interface Killed extends Pick<Kill, 'side' | 'moment'> {
  /** After the guest ran again. */
  readonly sinceResumeMs: number
  /** How the other side ended, and when, after the guest ran again. */
  readonly status: Ferried['status']
  readonly endedAfterMs: number
  readonly lastLine: string
  /** What is still there after `tapferry handover cleanup`. */
  readonly leftForGood: readonly string[]
}

export class Scene {
  readonly #network: Network
  readonly #machines: Machines
  readonly #directory: string
  readonly #cleanup: Cleanup
  #here: Host
  #there: Host
  #guest: Vm
  #number = 0

  /** Of the variant the machine, the network and the credentials matter here. */
  static async open(image: GuestImage, variant: Variant, cleanup: Cleanup): Promise<Scene> {
    const { machine, downtimeMs, course } = variant
    const directory = await mkdtemp(join(tmpdir(), 'tapferry-migration-'))
    cleanup.add(() => rm(directory, { recursive: true, force: true }))
    const { queues = 1, nics = 1 } = machine
    const network = await build({ queues, nics, migrationMbit: megabits(downtimeMs) }, cleanup)
    if (course.encrypted) {
      const names = network.hosts.map(({ controlAddress }) => controlAddress)
      await makeCredentials(credentialsIn(directory), { names })
    }
    const machines = new Machines(directory, image, machine, cleanup)
    const guest = await machines.boot(network.hosts[0])
    return new Scene(network, machines, guest, directory, cleanup)
  }

  private constructor(network: Network, machines: Machines, guest: Vm, directory: string, cleanup: Cleanup) {
    this.#network = network
    this.#machines = machines
    this.#directory = directory
    this.#cleanup = cleanup
    const [here, there] = network.hosts
    this.#here = here
    this.#there = there
    this.#guest = guest
  }

  /** To the other host; a migration that is cancelled leaves the guest where it is. */
  async migrate(variant: Variant, ferries: boolean, kill?: Kill): Promise<Row> {
    const begun = performance.now()
    this.#number += 1
    const [here, there] = [this.#here, this.#there]
    // A cancelled one shows what becomes of frames while the guest stands still: that is up to a queue as it is by default.
    await setQueues(here, variant.course.cancelled ? QUEUE : LONG_QUEUE)
    await setQueues(there, QUEUE)
    const before = await Promise.all(this.#network.hosts.map(tracesOn))
    const waiting = await this.#machines.incoming(there)
    const { vm, outlived, ...measured } = await this.#measure(waiting, variant, ferries, kill)
    const left = await this.#left(before)
    const victim = kill?.side === 'source' ? here : there
    const afterCleanup = async () => {
      await run(...victim.lab.inside(TAPFERRY, 'handover', 'cleanup'))
      return this.#left(before)
    }
    const killed = outlived && { killed: { ...outlived, leftForGood: await afterCleanup() } }
    await (vm === waiting ? this.#guest : waiting).kill()
    this.#guest = vm
    if (vm === waiting) [this.#here, this.#there] = [there, here]
    return {
      ...{ variant: variant.name, ferried: ferries, number: this.#number, from: here.name, to: there.name },
      ...measured,
      ...{ left, ...killed, wallMs: performance.now() - begun },
    }
  }

  async #measure(waiting: Vm, variant: Variant, ferries: boolean, kill: Kill | undefined): Promise<Measured> {
    const { lateDestination } = variant.course
    const [here, there, guest, directory] = [this.#here, this.#there, this.#guest, this.#directory]
    const receive = () => Ferry.destination({ host: there, vm: waiting, directory, variant }, this.#cleanup)
    let destination = ferries && !lateDestination ? receive() : undefined
    const source = ferries
      ? Ferry.source({ host: here, vm: guest, directory, variant }, there, this.#cleanup)
      : undefined
    await Promise.all([lateDestination ? source?.armed() : source?.ready(), destination?.ready()])
    const killing = kill && (kill.side === 'source' ? source : destination)?.kill(kill)
    // It is awaited below; what fails until then is not to end the process.
    killing?.catch(() => {})

    const left = { vm: guest, host: here }
    const reached = variant.course.cancelled ? left : { vm: waiting, host: there }
    const dropping = await DropWatch.start(left, reached)
    const flows = await Flows.start(this.#network.client, guest, variant)
    await sleep(BEFORE_MS)
    const { vm, stoppedNs, resumedNs, totalMs } = await migrate(guest, waiting, there, variant, async () => {
      if (!ferries || !lateDestination) return
      destination = receive()
      await destination.ready()
    })
    await sleep(kill ? AFTER_KILL_MS : AFTER_MS)
    const counts = await flows.end(vm, { stoppedNs, resumedNs })
    const [dropped, ferriedSource, ferriedDestination, killedAt] = await Promise.all([
      dropping.end(),
      source?.end(),
      destination?.end(),
      killing,
    ])
    const survivor = kill?.side === 'source' ? ferriedDestination : ferriedSource
    return {
      vm,
      ...counts,
      dropped,
      downtimeMs: Number(resumedNs - stoppedNs) / 1e6,
      totalMs,
      ...(ferriedSource && { source: ferriedSource }),
      ...(ferriedDestination && { destination: ferriedDestination }),
      ...(kill && killedAt && survivor && { outlived: outlive(kill, killedAt, survivor, resumedNs) }),
    }
  }

  async #left(before: readonly Traces[]): Promise<string[]> {
    const traces = await Promise.all(
      this.#network.hosts.map(async (host, index) => {
        const [earlier, later] = [before[index], await tracesOn(host)]
        return earlier ? added(earlier, later).map(trace => `${trace} on ${host.name}`) : []
      }),
    )
    return traces.flat()
  }
}

type Measured = Counts &
  Pick<Row, 'downtimeMs' | 'totalMs' | 'dropped' | 'source' | 'destination'> & {
    /** Where the guest is. */
    vm: Vm
    outlived?: Omit<Killed, 'leftForGood'>
  }

function outlive(
  { side, moment }: Kill,
  killedAt: number,
  { status, stderr, endedAt }: Ferried,
  resumedNs: bigint,
): Omit<Killed, 'leftForGood'> {
  const resumedAt = Number(resumedNs / 1_000_000n)
  return {
    ...{ side, moment, status },
    sinceResumeMs: killedAt - resumedAt,
    endedAfterMs: endedAt - resumedAt,
    lastLine:
      stderr
        .trim()
        .split('\n')
        .findLast(line => line.startsWith('tapferry: ')) ?? '',
  }
}
