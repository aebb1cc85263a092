/**
 * VMs with their netdevs and the host interfaces behind them: what `tapferry netdevs` shows.
 *
 * The monitor knows what there is now. Where it is not to be had, what the process was started with stands in.
 */

import type { HostInterface } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { findNetns, type Netns, ownNetnsId } from '../host/namespaces.ts'
import { descriptorsOf, printable } from '../host/processes.ts'
import { Monitor } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import type { NetdevOption } from '../vm/command-line.ts'
import { findVms, type MonitorPlace, type VmProcess, vmProcess } from '../vm/discover.ts'
import type { NetClient } from '../vm/info-network.ts'
import { listNetClients } from '../vm/net-clients.ts'
import { tapsBehind, tapsOf, type VmTap } from '../vm/taps.ts'

export interface NetdevEntry {
  readonly id: string
  /** QEMU's type of backend: `tap`, `user`, `stream`, `vhost-user`, ... */
  readonly backend: string
  readonly queues: number
  /** Undefined where it cannot be told: a netdev that was plugged in later, of a VM that has vhost. */
  readonly vhost: boolean | undefined
  /** The guest's device, if the netdev is plugged into one. */
  readonly device: NetClient | undefined
  readonly interface: string | undefined
  /** Undefined for the network namespace of this process, and where it is not known. */
  readonly netns: Netns | undefined
  /** What the host says of the interface; undefined where it was not to be found. */
  readonly facts: HostInterface | undefined
}

export interface VmEntry {
  readonly pid: number | undefined
  readonly name: string | undefined
  /** The monitor that answered, as `--qmp` takes it. */
  readonly monitor: string | undefined
  /** QEMU's run state; undefined without a monitor. */
  readonly runState: string | undefined
  readonly netdevs: readonly NetdevEntry[]
  /** Why there is no monitor. */
  readonly problem: TapferryError | undefined
}

/** A monitor among several is not waited for as long as the only one. */
const PATIENCE_MS = 700

/** The VM behind a monitor. Rejects with what Monitor.connect rejects with. */
export async function describeVmAt(address: string): Promise<VmEntry> {
  const monitor = await Monitor.connect({ address })
  try {
    const process = await monitor.process()
    return await describe(
      monitor,
      process === undefined ? undefined : await vmProcess(process.pid),
      process?.pid,
    )
  } finally {
    await monitor.close()
  }
}

/** Every VM of this host, in order of their processes. */
export async function describeVms(): Promise<VmEntry[]> {
  return Promise.all((await findVms()).map(describeProcess))
}

async function describeProcess(vm: VmProcess): Promise<VmEntry> {
  let problem: TapferryError | undefined
  for (const place of vm.places) {
    if (isAlwaysHeld(place)) {
      problem ??= heldByManager(place)
      continue
    }
    try {
      const monitor = await Monitor.connect({ address: place.address, connectTimeoutMs: PATIENCE_MS })
      try {
        return await describe(monitor, vm, vm.pid)
      } finally {
        await monitor.close()
      }
    } catch (error) {
      problem = TapferryError.from(error)
    }
  }
  return {
    pid: vm.pid,
    name: vm.name,
    monitor: undefined,
    runState: undefined,
    netdevs: await describeNetdevs([...vm.netdevs, ...vm.nics], vm, vm.pid),
    problem: problem ?? noMonitor(vm),
  }
}

async function describe(monitor: Monitor, vm: VmProcess | undefined, pid?: number): Promise<VmEntry> {
  const [clients, name] = [await listNetClients(monitor), await nameOf(monitor)]
  return {
    pid,
    name: name ?? vm?.name,
    monitor: monitor.address,
    runState: monitor.status,
    netdevs: await describeNetdevs(clients, vm, pid),
    problem: undefined,
  }
}

async function nameOf(monitor: Monitor): Promise<string | undefined> {
  const { name } = await monitor.command<{ name?: string }>('query-name')
  return name === undefined ? undefined : printable(name)
}

async function describeNetdevs(
  clients: readonly NetClient[],
  vm: VmProcess | undefined,
  pid: number | undefined,
): Promise<NetdevEntry[]> {
  const netdevs = clients.filter(({ type }) => type !== 'nic')
  const taps = pid === undefined ? [] : await tapsOf(pid)
  const vhosts = pid === undefined ? undefined : await usesVhost(pid)
  const host = new HostView(pid)
  const entries: NetdevEntry[] = []
  for (const netdev of netdevs) {
    const [tap] = netdev.type === 'tap' ? tapsBehind(netdev, netdevs, taps) : []
    const name = tap?.interface ?? netdev.interface
    const place = name === undefined ? undefined : await host.find(name, tap)
    entries.push({
      id: netdev.id,
      backend: netdev.type,
      queues: netdev.queues,
      vhost: vhosts === false ? false : vhostOption(netdev, vm?.netdevs ?? []),
      device: clients.find(({ type, id }) => type === 'nic' && id === netdev.device),
      interface: name,
      netns: place?.netns,
      facts: place?.facts,
    })
  }
  return entries
}

/** The interfaces of the namespaces in which a VM has its TAPs, each asked for once. */
class HostView {
  readonly #views = new Map<string, Promise<{ netns: Netns | undefined; interfaces: HostInterface[] }>>()
  readonly #pid: number | undefined

  constructor(pid: number | undefined) {
    this.#pid = pid
  }

  async find(name: string, tap: VmTap | undefined): Promise<Pick<NetdevEntry, 'netns' | 'facts'>> {
    const own = await ownNetnsId()
    const id = tap?.namespace ?? own
    let view = this.#views.get(id)
    if (view === undefined) {
      view = this.#look(id, id === own)
      this.#views.set(id, view)
    }
    const { netns, interfaces } = await view
    return { netns, facts: interfaces.find(each => each.name === name) }
  }

  async #look(id: string, own: boolean): Promise<{ netns: Netns | undefined; interfaces: HostInterface[] }> {
    const netns = own ? undefined : await findNetns(id, this.#pid === undefined ? [] : [this.#pid])
    if (!own && netns === undefined) return { netns, interfaces: [] }
    // Without the right to go there, its name is all there is to show.
    const view = await loadBinding()
      .inspectNetwork(netns?.path)
      .catch(() => undefined)
    return { netns, interfaces: view?.interfaces ?? [] }
  }
}

/** Whether the process has vhost-net at all; undefined where it may not be looked into. */
async function usesVhost(pid: number): Promise<boolean | undefined> {
  const descriptors = await descriptorsOf(pid)
  if (descriptors.length === 0) return undefined
  return descriptors.some(({ target }) => target === '/dev/vhost-net')
}

function vhostOption(netdev: NetClient, options: readonly NetdevOption[]): boolean | undefined {
  return options.find(({ id }) => id === netdev.id)?.vhost
}

/** Proxmox VE connects for a moment; the others stay, and notice when somebody else waits. */
function isAlwaysHeld({ manager }: MonitorPlace): boolean {
  return manager === 'libvirt' || manager === 'Incus'
}

function heldByManager({ address, manager }: MonitorPlace): TapferryError {
  return new TapferryError(
    'MONITOR_BUSY',
    `the monitor ${address} is ${manager}'s own`,
    'what is shown is what the VM was started with; `tapferry doctor --qmp` tells how to get another monitor',
  )
}

function noMonitor({ pid }: VmProcess): TapferryError {
  return new TapferryError(
    'MONITOR_NOT_FOUND',
    `the VM of process ${pid} has no QMP monitor that can be connected to from here`,
    'start it with one: -qmp unix:PATH,server=on,wait=off',
  )
}
