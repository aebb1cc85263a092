/** What the tests with real VMs share: one lab and its VMs a file, tapferry on their TAPs, and what must add up. */

import { mkdtemp, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Finished, Running, records, TAPFERRY } from '../support/cli.ts'
import { Lab, orSkip, type Reply } from '../support/lab.ts'
import type { Flow } from '../support/tally.ts'
import {
  type GuestImage,
  guestImage,
  monitorPath,
  needsQemu,
  type Tally,
  Vm,
  type VmOptions,
} from '../support/vm.ts'

export type { Flow, Tally, Vm }

/** Long enough for a machine whose processors are taken by others. */
const TEST_MS = 110_000
/** The first time, cargo builds the guest's program. */
const SET_UP_MS = 300_000

/** So long a TAP's queue that a guest that is slow on a busy machine loses nothing. */
const QUEUE_FRAMES = 10_000

/** A lab for all tests of a file, with the VMs that were started in it. */
export class Site {
  readonly lab: Lab
  readonly #directory: string
  readonly #vms: Vm[] = []
  #image: Promise<GuestImage> | undefined

  static async open(): Promise<Site> {
    return new Site(await Lab.open(), await mkdtemp(join(tmpdir(), 'tapferry-vm-')))
  }

  private constructor(lab: Lab, directory: string) {
    this.lab = lab
    this.#directory = directory
  }

  /** A persistent TAP for a VM. */
  async tap(name: string, queues = 1): Promise<void> {
    await this.lab.ask('tap', { name, held: false, txqueuelen: QUEUE_FRAMES, queues })
  }

  /** A path for a socket. */
  socket(name: string): string {
    return join(this.#directory, name)
  }

  /** Where a VM that may not be there yet has its monitor. */
  monitor(name: string): string {
    return monitorPath(this.#directory, name)
  }

  /** The guest's image, which tests of QEMU alone can do without. */
  image(): Promise<GuestImage> {
    this.#image ??= guestImage()
    return this.#image
  }

  /** A VM without a guest, unless the options hold its image. */
  async start(options: VmOptions): Promise<Vm> {
    await needsQemu()
    const vm = await Vm.start(this.lab, this.#directory, options)
    this.#vms.push(vm)
    return vm
  }

  /** VMs whose guests are up; they boot at the same time. */
  async boot<const Options extends readonly VmOptions[]>(
    ...options: Options
  ): Promise<{ [Index in keyof Options]: Vm }> {
    const image = await this.image()
    // All of them, so that close() knows those beside one that does not start.
    const starts = await Promise.allSettled(options.map(each => this.start({ ...each, image })))
    const vms = starts.map(start => {
      if (start.status === 'rejected') throw start.reason
      return start.value
    })
    await Promise.all(vms.map(vm => vm.console.booted()))
    return vms as { [Index in keyof Options]: Vm }
  }

  /** tapferry in the lab; nothing is left of it after the test. */
  ferry(t: ExecutionContext, ...args: readonly string[]): Running {
    return this.ferryWith(t, [], ...args)
  }

  /** The same with sockets that it inherits as its descriptors 3, 4 and so on. */
  ferryWith(t: ExecutionContext, sockets: readonly Socket[], ...args: readonly string[]): Running {
    const running = new Running(this.lab.inside(TAPFERRY, 'run', ...args), { sockets })
    t.teardown(async () => {
      await running.stop('SIGKILL')
    })
    return running
  }

  /** Sends numbered frames into an interface, as a host. */
  async send(netdev: string, fields: Readonly<Record<string, unknown>>): Promise<Sent> {
    return sent(await this.lab.ask('send', { netdev, ...fields }))
  }

  async close(): Promise<void> {
    await Promise.all(this.#vms.map(vm => vm.kill()))
    await this.lab.close()
    await rm(this.#directory, { recursive: true, force: true })
  }
}

/** The tests of a file with what they share, which is set up for the first of them. */
export function testsWith<T>(
  setUp: (site: Site) => Promise<T>,
): (title: string, body: (t: ExecutionContext, shared: T & { site: Site }) => Promise<void>) => void {
  let opened: Promise<Site> | undefined
  let shared: Promise<T & { site: Site }> | undefined
  const open = async (): Promise<T & { site: Site }> => {
    opened = Site.open()
    const site = await opened
    return { ...(await setUp(site)), site }
  }
  test.after.always('the VMs and their lab end', async () => {
    await opened?.then(
      site => site.close(),
      // The tests have said why there is none.
      () => {},
    )
  })
  return (title, body) => {
    test.serial(title, async t => {
      t.timeout(SET_UP_MS)
      shared ??= open()
      const present = await orSkip(t, shared)
      t.timeout(TEST_MS)
      if (present !== undefined) await body(t, present)
    })
  }
}

/** The one element there is to be. */
export function only<T>(elements: readonly T[]): T {
  const [first, ...others] = elements
  if (first === undefined || others.length > 0) throw new Error(`${elements.length} instead of one`)
  return first
}

/** When a frame was sent: the kernel took it between these times. CLOCK_REALTIME, ns. */
export interface Stamp {
  readonly number: number
  readonly before: bigint
  readonly after: bigint
}

export interface Sent {
  readonly frames: number
  readonly refused: number
  readonly firstNs: bigint
  readonly lastNs: bigint
  /** Only with `stamps`. */
  readonly stamps: readonly Stamp[]
}

/** The lab's answer to `send` and `send-stop`. */
export function sent(reply: Reply): Sent {
  const stamps = (reply['stamps'] ?? []) as readonly (readonly [number, string, string])[]
  return {
    frames: Number(reply['frames']),
    refused: Number(reply['refused']),
    firstNs: BigInt(String(reply['firstNs'])),
    lastNs: BigInt(String(reply['lastNs'])),
    stamps: stamps.map(([number, before, after]) => ({
      number,
      before: BigInt(before),
      after: BigInt(after),
    })),
  }
}

/** A record of --json. */
export type JsonRecord = Readonly<Record<string, unknown>>

/** When it happened: CLOCK_REALTIME, ns. */
export function timeNs({ time }: JsonRecord): bigint {
  const [, seconds = '', nanoseconds = ''] = /^(.*)\.(\d{9})Z$/.exec(String(time)) ?? []
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(nanoseconds)
}

/** The records of one type, in order. */
export function recordsOf({ stdout }: { stdout: string }, type: string): JsonRecord[] {
  return records(completeLines(stdout)).filter(record => record['type'] === type)
}

/** The events of one kind, in order. */
export function eventsOf(said: { stdout: string }, event: string): JsonRecord[] {
  return recordsOf(said, 'event').filter(record => record['event'] === event)
}

/** The summary, after a look at the end: status 0, and in all statistics every frame is accounted for. */
export function summaryOf(t: ExecutionContext, finished: Finished): JsonRecord {
  t.is(finished.status, 0, finished.stderr)
  const summary = only(recordsOf(finished, 'summary'))
  for (const record of [...recordsOf(finished, 'statistics'), summary]) addsUp(t, record)
  return summary
}

/** captured = forwarded + dropped + held, and dropped is the sum of its reasons. */
function addsUp(t: ExecutionContext, record: JsonRecord): void {
  const { captured, forwarded, dropped, held } = record
  const reasons = Object.entries(record).filter(([name]) => name.startsWith('dropped_'))
  const sum = reasons.reduce((total, [, frames]) => total + Number(frames), 0)
  t.is(dropped, sum, JSON.stringify(record))
  t.is(captured, Number(forwarded) + Number(dropped) + Number(held), JSON.stringify(record))
}

/** The present statistics. */
export async function statistics(running: Running): Promise<JsonRecord> {
  const told = () => recordsOf(running, 'statistics')
  const before = told().length
  running.signal('SIGUSR1')
  await running.until(() => told().length > before, 'statistics')
  return told().at(-1) ?? {}
}

/** A process that still runs may have said only a part of its last line. */
function completeLines(text: string): string {
  return text.slice(0, text.lastIndexOf('\n') + 1)
}

/** Every number exactly once, in order, nothing else of this series. */
export function exactly(
  t: ExecutionContext,
  tally: Tally | undefined,
  ranges: readonly (readonly [first: number, last: number])[],
  flow = 0,
): void {
  const nothing: Flow = { count: 0, ranges: [], duplicates: 0, outOfOrder: 0, damaged: 0 }
  const count = ranges.reduce((total, [first, last]) => total + last - first + 1, 0)
  t.deepEqual(tally?.flows[flow] ?? nothing, { ...nothing, count, ranges })
  t.is(tally?.lostByReader, 0, 'the guest has counted all that reached it')
}

/** The numbers of a series that the guest has, none of them twice and all in order. */
export function passedOnce(t: ExecutionContext, tally: Tally, flow: number): ReadonlySet<number> {
  const { ranges = [], ...rest } = tally.flows[flow] ?? {}
  t.like(rest, { duplicates: 0, outOfOrder: 0, damaged: 0 })
  t.is(tally.lostByReader, 0)
  return new Set(ranges.flatMap(([first, last]) => range(first, last)))
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}
