/**
 * A netdev, as people name it, to a host interface: a QEMU netdev id through the VM's monitor, or the
 * interface's own name.
 *
 *     info-network.ts   the VM's list of netdevs
 *     host.ts           the host's list of interfaces
 *
 * An id wins over a host interface of the same name. Without a monitor every name is an interface's; whether
 * it exists is then for the core to say.
 */

import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import { hostInterfaceExists } from './host.ts'
import { type NetClient, parseInfoNetwork } from './info-network.ts'

export type { NetClient } from './info-network.ts'

export type NetdevRole = 'in_netdev' | 'out_netdev'

export interface ResolvedNetdev {
  readonly interface: string
  /** The netdev's id in the VM; absent when the name was an interface's. */
  readonly id?: string
}

/**
 * Rejects with NETDEV_ID_UNKNOWN, NETDEV_ID_UNRESOLVED (the VM has the id, but no interface can be told from
 * it), and what Monitor.command rejects with.
 */
export async function resolveNetdev(
  name: string,
  role: NetdevRole,
  monitor?: Monitor,
): Promise<ResolvedNetdev> {
  if (monitor === undefined) return { interface: name }
  const clients = await listNetClients(monitor)
  const netdev = clients.find(client => client.id === name && client.type !== 'nic')
  if (netdev !== undefined) {
    if (netdev.interface === undefined) throw unresolved(netdev, role, monitor)
    return { interface: netdev.interface, id: netdev.id }
  }
  if (await hostInterfaceExists(name)) return { interface: name }
  throw unknown(name, role, clients, monitor)
}

/** The VM's netdevs and NICs, in the VM's order. */
export async function listNetClients(monitor: Monitor): Promise<NetClient[]> {
  const text = await monitor.command<string>('human-monitor-command', { 'command-line': 'info network' })
  return parseInfoNetwork(text)
}

function unresolved(netdev: NetClient, role: NetdevRole, monitor: Monitor): TapferryError {
  const failed = `failed to resolve TAP ifname for ${role} '${netdev.id}'`
  if (netdev.type !== 'tap') {
    return new TapferryError(
      'NETDEV_ID_UNRESOLVED',
      `${failed}: its backend is of type ${netdev.type}, which has no host interface`,
      `give a netdev of type tap, or the name of a host interface that carries the same frames`,
    )
  }
  if (netdev.fd !== undefined) {
    return new TapferryError(
      'NETDEV_ID_UNRESOLVED',
      `${failed}: its TAP was passed to the VM as descriptor ${netdev.fd}, and ${monitor.address} tells no name`,
      `give the interface's own name: grep iff: /proc/PID/fdinfo/${netdev.fd}, with the VM's PID, shows it ` +
        `(libvirt: virsh domiflist DOMAIN)`,
    )
  }
  return new TapferryError(
    'NETDEV_ID_UNRESOLVED',
    `${failed}: its TAP was made by a helper, and ${monitor.address} tells no name`,
    `give the interface's own name: grep iff: /proc/PID/fdinfo/*, with the VM's PID, shows it`,
  )
}

function unknown(
  name: string,
  role: NetdevRole,
  clients: readonly NetClient[],
  monitor: Monitor,
): TapferryError {
  const ids = clients.filter(client => client.type !== 'nic').map(client => client.id)
  const behind = clients.find(client => client.device === name)
  const list = ids.length === 0 ? 'that VM has no netdevs' : `its netdevs are: ${ids.join(', ')}`
  return new TapferryError(
    'NETDEV_ID_UNKNOWN',
    `${role} '${name}' not found: neither a netdev of the VM at ${monitor.address} nor a host interface; ${list}`,
    behind === undefined
      ? 'give one of its netdevs, or the name of a host interface (ip link shows them)'
      : `'${name}' is the device: its netdev is '${behind.id}'`,
  )
}
