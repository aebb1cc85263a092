/**
 * A netdev, as people name it, to a host interface: a QEMU netdev id through the VM's monitor and its process, or
 * the interface's own name.
 *
 * An id wins over a host interface of the same name. Without a monitor every name is an interface's; whether
 * it exists is then for the core to say.
 */

import type { HostInterface } from '../binding.ts'
import { findNetns, ownNetnsId } from '../host/namespaces.ts'
import type { Monitor } from '../monitor/index.ts'
import { loadBinding } from '../native.ts'
import { listNetClients } from '../vm/net-clients.ts'
import { tapsBehind, tapsOf, type VmTap } from '../vm/taps.ts'
import { unknownNetdev, unreachableNamespace, unresolvedNetdev } from './failures.ts'

export type NetdevRole = 'in_netdev' | 'out_netdev'

export interface ResolvedNetdev {
  readonly interface: string
  /** A path to the interface's network namespace; absent: that of this process. */
  readonly netns?: string
  /** The netdev's id in the VM; absent when the name was an interface's. */
  readonly id?: string
  /** The VM's process does not tell: its interface may be another one, of that name, elsewhere. */
  readonly assumed?: true
}

/** Where a name is looked up. */
export interface Surroundings {
  readonly monitor?: Monitor | undefined
  /** A path to the network namespace of an interface that is given by its name; absent: that of this process. */
  readonly netns?: string | undefined
}

/**
 * Rejects with NETDEV_ID_UNKNOWN, NETDEV_ID_UNRESOLVED (the VM has the id, but no interface can be told from
 * it), NETNS_NOT_FOUND, and what Monitor.command rejects with.
 */
export async function resolveNetdev(
  name: string,
  role: NetdevRole,
  { monitor, netns }: Surroundings = {},
): Promise<ResolvedNetdev> {
  const asGiven = { interface: name, ...(netns === undefined ? {} : { netns }) }
  if (monitor === undefined) return asGiven
  const clients = await listNetClients(monitor)
  const netdevs = clients.filter(client => client.type !== 'nic')
  const netdev = netdevs.find(client => client.id === name)
  if (netdev === undefined) {
    if (await interfaceExists(name, netns)) return asGiven
    // A VM in a container has its TAPs there.
    const tap = (await tapsBehindMonitor(monitor)).find(each => each.interface === name)
    if (tap !== undefined) return await placeOf(tap)
    throw unknownNetdev(name, role, clients, monitor)
  }
  if (netdev.type !== 'tap') throw unresolvedNetdev(netdev, role, monitor)
  const [tap] = tapsBehind(netdev, netdevs, await tapsBehindMonitor(monitor))
  if (tap !== undefined) return { ...(await placeOf(tap)), id: netdev.id }
  // The VM's process is not to be looked into: what the monitor tells has to do.
  if (netdev.interface === undefined) throw unresolvedNetdev(netdev, role, monitor)
  return { ...asGiven, interface: netdev.interface, id: netdev.id, assumed: true }
}

async function tapsBehindMonitor(monitor: Monitor): Promise<VmTap[]> {
  const process = await monitor.process()
  return process === undefined ? [] : tapsOf(process.pid)
}

/** Rejects with NETNS_NOT_FOUND where nothing leads to its network namespace. */
export async function placeOf(tap: VmTap): Promise<ResolvedNetdev> {
  const { interface: name, namespace, pid } = tap
  if (namespace === undefined || namespace === (await ownNetnsId())) return { interface: name }
  const netns = await findNetns(namespace, [pid])
  if (netns === undefined) throw unreachableNamespace(tap)
  return { interface: name, netns: netns.path }
}

async function interfaceExists(name: string, netns: string | undefined): Promise<boolean> {
  const { interfaces } = await loadBinding().inspectNetwork(netns)
  return interfaces.some(named(name))
}

/** As people know it: `hn0 (tapA)`. */
export function netdevName(given: string, { interface: netdev, netns }: ResolvedNetdev): string {
  const place = netns === undefined ? '' : ` in ${netns}`
  return given === netdev ? `${netdev}${place}` : `${given} (${netdev}${place})`
}

/** What an assumed one is taken for, and why it is only assumed. */
export function assumption({ interface: name }: ResolvedNetdev): string {
  return `${name} of this network namespace: the VM's process does not tell`
}

/** Whether an interface answers to a name: alternative ones do as well (ip-link(8), altname). */
export function named(name: string): (netdev: HostInterface) => boolean {
  return netdev => netdev.name === name || netdev.altNames.includes(name)
}
