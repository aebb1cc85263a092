/** Each end: the interface that a name leads to, what is there, and where else it could be meant. */

import type { HostInterface, NetworkView } from '../../binding.ts'
import { TapferryError } from '../../errors.ts'
import { findNetns, listNamed, type Netns, netnsPath } from '../../host/namespaces.ts'
import { listPids, type ProcessState, socketHolders } from '../../host/processes.ts'
import type { Monitor } from '../../monitor/index.ts'
import { loadBinding } from '../../native.ts'
import { type NetdevRole, named, placeOf, type ResolvedNetdev, resolveNetdev } from '../../netdev/index.ts'
import { tapsBehind, tapsOf } from '../../vm/taps.ts'
import type { End, Vm } from '../facts.ts'

/** What may know a name. */
export interface Sources {
  readonly monitor: Monitor | undefined
  /** The VM of the monitor that was given, whether that answers or not. */
  readonly owner: Vm | undefined
  readonly vms: readonly Vm[]
}

export async function lookAt(
  role: NetdevRole,
  given: string | undefined,
  netns: string | undefined,
  { monitor, owner, vms }: Sources,
): Promise<End | undefined> {
  if (given === undefined) return undefined
  const path = netns === undefined ? undefined : netnsPath(netns)
  const unresolved: ResolvedNetdev = { interface: given, ...(path === undefined ? {} : { netns: path }) }
  let place = unresolved
  let network: NetworkView | undefined
  let problem: TapferryError | undefined
  try {
    place =
      (monitor === undefined ? await placeByProcess(given, owner) : undefined) ??
      (await resolveNetdev(given, role, { monitor, netns: path }))
  } catch (error) {
    problem = TapferryError.from(error)
  }
  try {
    network = await loadBinding().inspectNetwork(place.netns)
  } catch (error) {
    problem ??= TapferryError.from(error)
  }
  // An interface that merely bears the name of what could not be resolved is not what was meant.
  const facts = problem === undefined ? network?.interfaces.find(named(place.interface)) : undefined
  const found = facts !== undefined || network === undefined
  return {
    role,
    given,
    problem,
    place,
    network,
    facts,
    elsewhere: found ? [] : await namespacesWith(place.interface, network?.namespace, vms),
    // A carrier tells as much, without a look at every process.
    held: facts?.tun !== undefined && (facts.carrier || (await isHeld(facts.name, network?.namespace))),
    capturers: facts === undefined ? [] : await capturersOf(facts, network),
  }
}

/** Without its monitor: what the VM was started with, and the TAPs that it holds. */
async function placeByProcess(id: string, owner: Vm | undefined): Promise<ResolvedNetdev | undefined> {
  const netdevs = owner?.process.netdevs ?? []
  const netdev = netdevs.find(each => each.id === id)
  const [tap] = netdev === undefined ? [] : tapsBehind(netdev, netdevs, owner?.taps ?? [])
  return tap === undefined ? undefined : { ...(await placeOf(tap)), id }
}

/** ETH_P_ALL (linux/if_ether.h): what a capture asks for; a socket that only sends asks for nothing. */
const ETH_P_ALL = 3

async function capturersOf(
  { ifindex }: HostInterface,
  network: NetworkView | undefined,
): Promise<ProcessState[]> {
  const sockets = (network?.packetSockets ?? []).filter(
    // One whose interface was deleted has no ifindex either, and is not running.
    ({ protocol, ifindex: bound, running }) =>
      protocol === ETH_P_ALL && (bound === ifindex || (bound === 0 && running)),
  )
  return socketHolders(new Set(sockets.map(({ inode }) => String(inode))))
}

/** The kernel tells how many queues are held only for multiqueue TAPs. */
async function isHeld(name: string, namespace: string | undefined): Promise<boolean> {
  for (const pid of await listPids()) {
    const taps = await tapsOf(pid)
    if (taps.some(tap => tap.interface === name && tap.namespace === namespace)) return true
  }
  return false
}

/** Where an interface of that name is, if not where it was looked for: in named namespaces and those of VMs. */
async function namespacesWith(
  name: string,
  searched: string | undefined,
  vms: readonly Vm[],
): Promise<Netns[]> {
  const ofVms = vms.flatMap(({ taps }) => taps.map(tap => tap.namespace))
  const ids = new Set([...(await listNamed()).map(({ id }) => id), ...ofVms].filter(id => id !== searched))
  const found: Netns[] = []
  for (const id of ids) {
    const netns = id === undefined ? undefined : await findNetns(id)
    const view = netns === undefined ? undefined : await viewOf(netns)
    if (netns !== undefined && view?.interfaces.some(named(name))) found.push(netns)
  }
  return found
}

function viewOf({ path }: Netns): Promise<NetworkView | undefined> {
  return loadBinding()
    .inspectNetwork(path)
    .catch(() => undefined)
}
