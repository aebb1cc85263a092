/** The VM behind a monitor, and those of its netdevs that are to be handed over. */

import type { HandoverAddress, HandoverNetdevOptions } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { netnsPath } from '../host/namespaces.ts'
import { printable } from '../host/processes.ts'
import type { Monitor } from '../monitor/index.ts'
import { assumption, type NetdevRole, netdevName, resolveNetdev } from '../netdev/index.ts'
import { whenThere } from '../netdev/wait.ts'
import type { Printer } from '../output/printer.ts'
import type { NetClient } from '../vm/info-network.ts'
import { listNetClients } from '../vm/net-clients.ts'
import type { HandoverPlan } from './plan.ts'

export interface VmIdentity {
  readonly name: string | undefined
  readonly uuid: string | undefined
  /** Where its process can be told. */
  readonly pid: number | undefined
}

export interface HandoverNetdev {
  /** QEMU's id. */
  readonly id: string
  /** Its TAP. */
  readonly interface: string
  /** A path to the TAP's network namespace; absent: that of this process. */
  readonly netns?: string
  readonly mac?: string
  /** As people know it: `hn0 (tapA)`. */
  readonly title: string
}

/** What QEMU answers for a VM without one. */
const NO_UUID = '00000000-0000-0000-0000-000000000000'

/** Rejects with what Monitor.command rejects with. */
export async function identify(monitor: Monitor): Promise<VmIdentity> {
  const { name } = await monitor.command<{ name?: string }>('query-name')
  const { UUID: uuid } = await monitor.command<{ UUID: string }>('query-uuid')
  return {
    name: name === undefined ? undefined : printable(name),
    uuid: uuid === NO_UUID ? undefined : uuid,
    pid: (await monitor.process())?.pid,
  }
}

/** In the order in which they were given, else in the VM's. Rejects with the failures of `resolveNetdev`. */
export async function findNetdevs(
  plan: HandoverPlan,
  monitor: Monitor,
  printer: Printer,
  signal: AbortSignal,
): Promise<HandoverNetdev[]> {
  const { wait } = plan
  const wanted = plan.netdevs.length === 0 ? 'a TAP' : plan.netdevs.join(', ')
  const onWaiting = (): void => printer.notice(`waiting for the VM to have ${wanted}`)
  return whenThere(() => lookUp(plan, monitor, printer), { wait, signal, onWaiting })
}

async function lookUp(plan: HandoverPlan, monitor: Monitor, printer: Printer): Promise<HandoverNetdev[]> {
  const clients = await listNetClients(monitor)
  const taps = clients.filter(({ type }) => type === 'tap').map(({ id }) => id)
  if (plan.netdevs.length === 0 && taps.length === 0) {
    throw new TapferryError(
      'NETDEV_ID_UNKNOWN',
      `the VM at ${monitor.address} has no netdev of type tap`,
      'frames are handed over between TAPs; `tapferry netdevs` shows what the VM has',
    )
  }
  const found: HandoverNetdev[] = []
  for (const name of plan.netdevs.length === 0 ? taps : plan.netdevs) {
    found.push(await resolve(name, { plan, monitor, printer, clients, taps }))
  }
  const [twice] = found.filter((one, index) => found.findIndex(other => other.id === one.id) !== index)
  if (twice !== undefined) {
    throw new TapferryError('USAGE', `netdev ${twice.title} is given twice`, 'give it once')
  }
  return found
}

interface Sources {
  readonly plan: HandoverPlan
  readonly monitor: Monitor
  readonly printer: Printer
  readonly clients: readonly NetClient[]
  /** The ids of the VM's TAPs. */
  readonly taps: readonly string[]
}

async function resolve(given: string, sources: Sources): Promise<HandoverNetdev> {
  const { plan, monitor, printer, clients } = sources
  const role: NetdevRole = plan.side === 'source' ? 'in_netdev' : 'out_netdev'
  const surroundings = { monitor, netns: plan.netns === undefined ? undefined : netnsPath(plan.netns) }
  const place = await resolveNetdev(given, role, surroundings)
  if (place.assumed) printer.notice(`${role} '${given}' is taken for ${assumption(place)}`)
  const id = place.id ?? (await idOf(place, sources))
  if (id === undefined) {
    throw new TapferryError(
      'NETDEV_ID_UNKNOWN',
      `${role} '${given}' is an interface of this host, and no netdev of the VM at ${monitor.address}`,
      `the VM's TAPs are behind its netdevs ${sources.taps.join(', ') || '(it has none)'}`,
    )
  }
  const device = clients.find(client => client.id === id && client.type !== 'nic')?.device
  const mac = clients.find(client => client.type === 'nic' && client.id === device)?.mac
  return {
    ...{ id, interface: place.interface, title: netdevName(id, place) },
    ...(place.netns === undefined ? {} : { netns: place.netns }),
    ...(mac === undefined ? {} : { mac }),
  }
}

/** The netdev of the VM that has this TAP. */
async function idOf(
  tap: { interface: string; netns?: string },
  { monitor, taps }: Sources,
): Promise<string | undefined> {
  for (const id of taps) {
    const place = await resolveNetdev(id, 'in_netdev', { monitor, netns: tap.netns }).catch(() => undefined)
    if (place?.interface === tap.interface && place.netns === tap.netns) return id
  }
  return undefined
}

/** Where the destination listens, as the addon wants it. */
export function handoverAddress({ address, tlsCreds }: HandoverPlan): HandoverAddress {
  const place = address.kind === 'unix' ? { unix: address.path } : { tcp: address }
  return tlsCreds === undefined ? place : { ...place, tlsCreds }
}

/** A netdev as the addon wants it. */
export function netdevOptions(netdev: HandoverNetdev, vm: VmIdentity): HandoverNetdevOptions {
  return {
    netdev: netdev.interface,
    ...(netdev.netns === undefined ? {} : { netns: netdev.netns }),
    identity: {
      vmName: vm.name ?? '',
      netdevId: netdev.id,
      ...(vm.uuid === undefined ? {} : { vmUuid: vm.uuid }),
      ...(netdev.mac === undefined ? {} : { mac: netdev.mac }),
    },
  }
}
