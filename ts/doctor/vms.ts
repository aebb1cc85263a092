/** Which VMs of this host an end is of. Pure. */

import { tapsBehind } from '../vm/taps.ts'
import type { End, Vm } from './facts.ts'

/** Those that have a netdev of the name that was given, or hold the TAP that the name led to. */
export function vmsOf(end: End | undefined, vms: readonly Vm[]): Vm[] {
  if (end === undefined) return []
  const { given, place, network } = end
  return vms.filter(
    ({ process, taps }) =>
      process.netdevs.some(({ id }) => id === given) ||
      taps.some(tap => tap.interface === place.interface && tap.namespace === network?.namespace),
  )
}

/** The interface behind a netdev of it, if that is in the network namespace that was looked at. */
export function interfaceBehind({ process, taps }: Vm, id: string, namespace?: string): string | undefined {
  const netdev = process.netdevs.find(each => each.id === id)
  const [tap] = netdev === undefined ? [] : tapsBehind(netdev, process.netdevs, taps)
  return tap?.namespace === namespace ? tap?.interface : undefined
}

export function titleOf({ process }: Vm): string {
  return `VM ${process.name ?? `of process ${process.pid}`}`
}

/** A path needs no prefix. */
export function plainAddress(address: string): string {
  return address.replace(/^unix:/, '')
}
