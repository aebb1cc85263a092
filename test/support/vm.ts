/**
 * Real VMs: QEMU without hardware acceleration, in a lab, with the guest of crates/guest, which counts the
 * numbered frames that reach each of its NICs.
 *
 * A VM has as many monitors as a test asks for, because each serves one client, and one more for the test.
 */

import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Monitor, type MonitorEvent } from '../../ts/monitor/index.ts'
import { run } from './cli.ts'
import { Console } from './console.ts'
import type { Flow } from './tally.ts'
import { type Lab, TARGET, TESTBED, Unavailable } from './testbed.ts'

const QEMU = 'qemu-system-x86_64'

/** The series of the frames that mark the end of what a NIC is to have received. */
const MARKER_FLOW = 9_999
const RECEIVE_MS = 30_000
/** Between two questions for what a guest has counted. */
const POLL_MS = 20

export interface GuestImage {
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
}

/** What a NIC has received: crates/testbed/src/tally.rs. */
export interface Tally {
  readonly flows: Readonly<Record<string, Flow>>
  readonly stream: Readonly<Record<'segments' | 'bytes' | 'jumps' | 'damaged', number>>
  readonly other: number
  readonly badChecksum: number
  readonly tooLong: number
  readonly lostByReader: number
}

/** What a netdev is, where it is more than a TAP. */
export interface Netdev {
  /** What leads out of the VM: a TAP's name, or the backend in QEMU's words, `stream,addr.type=...`. */
  readonly tap?: string
  readonly backend?: string
  /** Whether the TAP's frames have virtio-net headers, as QEMU has it by default. */
  readonly vnetHdr?: boolean
  /** More properties of its NIC. */
  readonly nic?: string
}

export interface VmOptions {
  readonly name: string
  /** Netdev ids and their TAPs; the guest has them as eth0, eth1 and so on. */
  readonly netdevs: Readonly<Record<string, string | Netdev>>
  /** A hub joins the netdevs, instead of NICs of a guest: what comes in at one goes out at the others. */
  readonly hub?: boolean
  /** How many monitors there are beside the test's own. */
  readonly monitors?: number
  /** Queues of each netdev; the VM has as many processors, because a guest uses one queue for each. */
  readonly queues?: number
  /** Its one netdev's TAP is made for it and handed over by descriptor, as libvirt does. */
  readonly passed?: boolean
  /** -S: it waits for `cont`. */
  readonly paused?: boolean
  /** -incoming defer: it waits for `migrate-incoming` and the state of another VM. */
  readonly incoming?: boolean
  /** -m, in QEMU's words. Default 128 MiB. */
  readonly memory?: string
  /** Without an image the firmware finds nothing to boot, which is running enough for a monitor. */
  readonly image?: GuestImage
}

/** When the VM stopped or went on, as its events say: CLOCK_REALTIME, ns. */
export interface RunStateChange {
  readonly running: boolean
  readonly atNs: bigint
}

/** Where a VM has its monitors, or will have them. */
export function monitorPath(directory: string, name: string, index = 0): string {
  return join(directory, `${name}-qmp${index}`)
}

/** Rejects with Unavailable without QEMU. */
export async function needsQemu(): Promise<true> {
  const { status } = spawnSync(QEMU, ['--version'], { stdio: 'ignore' })
  if (status !== 0) throw new Unavailable(`${QEMU} is not installed`)
  return true
}

/** The guest's image; cargo and the testbed build it in a moment when nothing has changed. */
export async function guestImage(): Promise<GuestImage> {
  await needsQemu()
  const { status, stdout, stderr } = await run(TESTBED, ['guest-image', '--out', `${TARGET}/guest-image`])
  if (status === 3) throw new Unavailable(stderr.trim())
  if (status !== 0) throw new Error(`testbed guest-image: ${stderr}`)
  return JSON.parse(stdout) as GuestImage
}

export class Vm {
  /** The sockets of the monitors that were asked for. */
  readonly monitors: readonly string[]
  /** STOP and RESUME so far. */
  readonly changes: RunStateChange[] = []
  readonly console: Console
  /** Resolves when QEMU has ended. */
  readonly ended: Promise<unknown>
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #control: Monitor
  readonly #lab: Lab
  readonly #taps: readonly string[]
  #markers = 0

  /** Starts QEMU. When this resolves its monitors are there; the guest may still boot. */
  static async start(lab: Lab, directory: string, options: VmOptions): Promise<Vm> {
    const { name } = options
    const control = join(directory, `${name}-control`)
    const monitors = Array.from({ length: options.monitors ?? 1 }, (_, index) =>
      monitorPath(directory, name, index),
    )
    const qemu = [QEMU, ...machine(options), ...[control, ...monitors].flatMap(monitor)]
    const [file, args] = lab.inside(...(options.passed ? withTap(options) : []), ...qemu)
    const child = spawn(file, args, { stdio: 'pipe' })
    let complaints = ''
    child.stderr.on('data', data => {
      complaints += data
    })
    const ended = once(child, 'close')
    const early = new AbortController()
    ended.then(
      () => early.abort(new Error(`QEMU ended: ${complaints}`)),
      error => early.abort(error),
    )
    try {
      const connection = await Monitor.connect({ address: control, wait: true, signal: early.signal })
      const taps = netdevsOf(options).map(([, { tap = '' }]) => tap)
      return new Vm(child, ended, connection, lab, monitors, taps)
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }

  private constructor(
    child: ChildProcessByStdio<Writable, Readable, Readable>,
    ended: Promise<unknown>,
    control: Monitor,
    lab: Lab,
    monitors: readonly string[],
    taps: readonly string[],
  ) {
    this.#process = child
    this.#control = control
    this.#lab = lab
    this.#taps = taps
    this.ended = ended
    this.monitors = monitors
    this.console = new Console(child.stdin, child.stdout)
    control.onEvent(event => {
      if (event.type !== 'run_state' || event.atNs === undefined) return
      this.changes.push({ running: event.running, atNs: event.atNs })
    })
  }

  /** QMP over the test's own monitor: resolves with the reply, when the events before it have been heard. */
  command<T>(name: string, args?: object): Promise<T> {
    return this.#control.command<T>(name, args)
  }

  /** Events of the test's own monitor, from now on. */
  onEvent(listener: (event: MonitorEvent) => void): void {
    this.#control.onEvent(listener)
  }

  /** kill -9 for QEMU, or nothing when it has ended. */
  async kill(): Promise<void> {
    await this.#control.close()
    this.#process.kill('SIGKILL')
    await this.ended
  }

  /**
   * What each of the NICs has received, all of it: a last frame goes into its TAP, whose queue keeps the
   * order, and is waited for. Whoever sends into the TAP must have ended.
   */
  async received(...nics: readonly string[]): Promise<Tally[]> {
    this.#markers += 1
    const number = this.#markers
    for (const nic of nics) {
      const netdev = this.#taps[Number(nic.slice('eth'.length))]
      await this.#lab.ask('send', { netdev, flow: MARKER_FLOW, first: number })
    }
    return this.reports(nics, tally => hasNumber(tally.flows[MARKER_FLOW], number))
  }

  /** Waits until what each of the NICs has received fits. */
  async reports(nics: readonly string[], fits: (tally: Tally) => boolean): Promise<Tally[]> {
    const deadline = performance.now() + RECEIVE_MS
    for (;;) {
      const report = await this.#report()
      const tallies = nics.flatMap(nic => report[nic] ?? [])
      if (tallies.length < nics.length) throw new Error(`the guest's NICs are ${Object.keys(report)}`)
      if (tallies.every(fits)) return tallies
      if (performance.now() > deadline) {
        throw new Error(`the guest has not received what it should have: ${JSON.stringify(tallies)}`)
      }
      await sleep(POLL_MS)
    }
  }

  async #report(): Promise<Readonly<Record<string, Tally>>> {
    const { nics } = await this.console.ask('report', 'report')
    return nics as Readonly<Record<string, Tally>>
  }
}

function hasNumber(flow: Flow | undefined, number: number): boolean {
  return flow?.ranges.some(([first, last]) => first <= number && number <= last) ?? false
}

/** `testbed pass-tap` creates the TAP, becomes QEMU and puts the descriptors' numbers for %FDS%. */
function withTap(options: VmOptions): string[] {
  const [[, { tap = '' }] = ['', {}]] = netdevsOf(options)
  return [TESTBED, 'pass-tap', tap, String(options.queues ?? 1)]
}

function netdevsOf({ netdevs }: VmOptions): [id: string, netdev: Netdev][] {
  return Object.entries(netdevs).map(([id, netdev]) => [
    id,
    typeof netdev === 'string' ? { tap: netdev } : netdev,
  ])
}

function machine(options: VmOptions): string[] {
  const { image, name, queues = 1, hub = false, paused = false, incoming = false, memory = '128' } = options
  const guest =
    image === undefined
      ? []
      : ['-kernel', image.kernel, '-initrd', image.initrd, '-append', image.cmdline, '-serial', 'stdio']
  const vectors = queues > 1 ? `,mq=on,vectors=${2 * queues + 2}` : ''
  return [
    ...['-accel', 'tcg', '-M', 'q35', '-m', memory, '-nodefaults', '-display', 'none'],
    ...['-name', `guest=${name}`, '-smp', String(queues)],
    ...(paused ? ['-S'] : []),
    ...(incoming ? ['-incoming', 'defer'] : []),
    ...netdevsOf(options).flatMap(([id, netdev], index) => [
      ...['-netdev', backend(id, netdev, options)],
      ...(hub
        ? ['-netdev', `hubport,id=port-${id},hubid=0,netdev=${id}`]
        : ['-device', nic(id, netdev, index) + vectors]),
    ]),
    ...guest,
  ]
}

function backend(id: string, netdev: Netdev, { queues = 1, passed = false }: VmOptions): string {
  if (netdev.backend !== undefined) return netdev.backend.replace(',', `,id=${id},`)
  const several = queues > 1 ? `,queues=${queues}` : ''
  const fds = queues > 1 ? 'fds=%FDS%' : 'fd=%FDS%'
  const tap = passed ? fds : `ifname=${netdev.tap},script=no,downscript=no${several}`
  return `tap,id=${id},${tap}${netdev.vnetHdr === false ? ',vnet_hdr=off' : ''}`
}

/** In the order of their addresses the guest names them. An option ROM would only take time. */
function nic(id: string, netdev: Netdev, index: number): string {
  const more = netdev.nic === undefined ? '' : `,${netdev.nic}`
  return `virtio-net-pci,netdev=${id},addr=0x${(index + 4).toString(16)},romfile=${more}`
}

function monitor(path: string): string[] {
  return ['-qmp', `unix:${path},server=on,wait=off`]
}
