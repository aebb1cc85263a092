/** Why a name leads to no interface, in words. */

import { TapferryError } from '../errors.ts'
import type { Monitor } from '../monitor/index.ts'
import type { NetClient } from '../vm/info-network.ts'
import type { VmTap } from '../vm/taps.ts'
import type { NetdevRole } from './index.ts'

/** The VM has the id, but nothing tells its interface. */
export function unresolvedNetdev(netdev: NetClient, role: NetdevRole, monitor: Monitor): TapferryError {
  const failed = `failed to resolve TAP ifname for ${role} '${netdev.id}'`
  if (netdev.type !== 'tap') {
    return new TapferryError(
      'NETDEV_ID_UNRESOLVED',
      `${failed}: its backend is of type ${netdev.type}, which has no host interface`,
      `give a netdev of type tap, or the name of a host interface that carries the same frames`,
    )
  }
  const made =
    netdev.fd === undefined
      ? 'its TAP was made by a helper'
      : `its TAP was passed to the VM as descriptor ${netdev.fd}`
  return new TapferryError(
    'NETDEV_ID_UNRESOLVED',
    `${failed}: ${made}, and the VM's process behind ${monitor.address} may not be looked into`,
    `run tapferry as root on the VM's host, or give the interface's own name ` +
      `(tapferry netdevs, or with libvirt: virsh domiflist DOMAIN)`,
  )
}

/** Neither a netdev of the VM nor an interface. */
export function unknownNetdev(
  name: string,
  role: NetdevRole,
  clients: readonly NetClient[],
  monitor: Monitor,
): TapferryError {
  const ids = clients.filter(client => client.type !== 'nic').map(client => client.id)
  const behind = clients.find(client => client.device === name)
  const list = ids.length === 0 ? 'that VM has no netdevs' : `the VM's netdevs are: ${ids.join(', ')}`
  return new TapferryError(
    'NETDEV_ID_UNKNOWN',
    `${role} '${name}' not found: neither a netdev of the VM at ${monitor.address} nor a host interface; ${list}`,
    behind === undefined
      ? 'give one of them, or the name of a host interface (ip link; --netns for another namespace); `tapferry doctor` looks further'
      : `'${name}' is the device: its netdev is '${behind.id}'`,
  )
}

/** The kernel says where a TAP is, and no process and no name leads there. */
export function unreachableNamespace(tap: VmTap): TapferryError {
  return new TapferryError(
    'NETNS_NOT_FOUND',
    `interface '${tap.interface}' is in network namespace ${tap.namespace}, which nothing that can be seen here leads to`,
    'run tapferry as root, or give a way in: --netns=PATH',
  )
}
