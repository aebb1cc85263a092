/**
 * The network: two hosts, a switch and a client, each in a namespace of its own, joined by veths.
 *
 *     client -- switch -- A: br0 -- tap0
 *                     \-- B: br0 -- tap0
 *     A -- B: mig0, by which the state of the VM travels, no faster than a network does
 *     A -- B: ctl0, for the two tapferrys
 *
 * A VM with two netdevs has tap1 beside tap0.
 *
 * All bridges learn, as they do by default: until the guest is heard at its new host, its frames go to the old one.
 */

import { Lab } from '../../test/support/testbed.ts'
import type { Cleanup } from './cleanup.ts'

export const CLIENT_NIC = 'eth0'

/** The client's addresses, and the guest's: one for each of its NICs. */
export const CLIENT_ADDRESSES = ['10.0.0.1', '10.0.1.1'] as const
export const GUEST_ADDRESSES = ['10.0.0.2', '10.0.1.2'] as const
export const PREFIX = 24

export interface Host {
  readonly name: 'a' | 'b'
  readonly lab: Lab
  /** One for each netdev of the VM. */
  readonly taps: readonly string[]
  /** Where it takes the state of a VM. */
  readonly migrationAddress: string
  /** Where its tapferry can be reached. */
  readonly controlAddress: string
}

export interface Network {
  readonly client: Lab
  readonly hosts: readonly [Host, Host]
}

/** What is up to the variant. */
interface Shape {
  readonly queues: number
  readonly nics: number
  /** Megabits a second for the state of the VM. */
  readonly migrationMbit: number
}

export async function build(shape: Shape, cleanup: Cleanup): Promise<Network> {
  const [client, middle, a, b] = await Promise.all([
    open(cleanup),
    open(cleanup),
    open(cleanup),
    open(cleanup),
  ])
  await join(client, CLIENT_NIC, middle, 'client')
  await join(a, 'uplink', middle, 'host-a')
  await join(b, 'uplink', middle, 'host-b')
  await join(a, 'mig0', b, 'mig0')
  await join(a, 'ctl0', b, 'ctl0')
  await middle.ask('bridge', { name: 'br0', ports: ['client', 'host-a', 'host-b'] })
  for (const address of CLIENT_ADDRESSES) {
    await ip(client, 'addr', 'add', `${address}/${PREFIX}`, 'dev', CLIENT_NIC)
  }
  return { client, hosts: [await host('a', 1, a, shape), await host('b', 2, b, shape)] }
}

/** How many frames the queues of a host's TAPs hold; while a length is changed, frames may be lost. */
export async function setQueues({ lab, taps }: Host, frames: number): Promise<void> {
  for (const tap of taps) await lab.ask('link', { name: tap, txqueuelen: frames })
}

async function open(cleanup: Cleanup): Promise<Lab> {
  const lab = await Lab.open()
  cleanup.add(() => lab.close())
  return lab
}

async function host(name: Host['name'], number: number, lab: Lab, shape: Shape): Promise<Host> {
  const { queues, nics, migrationMbit } = shape
  const taps = Array.from({ length: nics }, (_, index) => `tap${index}`)
  for (const tap of taps) await lab.ask('tap', { name: tap, held: false, queues })
  await lab.ask('bridge', { name: 'br0', ports: ['uplink', ...taps] })
  const migrationAddress = `10.1.0.${number}`
  const controlAddress = `10.2.0.${number}`
  await ip(lab, 'addr', 'add', `${migrationAddress}/${PREFIX}`, 'dev', 'mig0')
  await ip(lab, 'addr', 'add', `${controlAddress}/${PREFIX}`, 'dev', 'ctl0')
  const limit = ['tbf', 'rate', `${migrationMbit}mbit`, 'burst', '256kb', 'latency', '50ms']
  await lab.ask('run', { command: ['tc', 'qdisc', 'add', 'dev', 'mig0', 'root', ...limit] })
  return { name, lab, taps, migrationAddress, controlAddress }
}

/** A cable between two namespaces. */
async function join(one: Lab, name: string, other: Lab, peer: string): Promise<void> {
  await ip(one, 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer, 'netns', String(other.pid))
  await ip(one, 'link', 'set', name, 'up')
  await ip(other, 'link', 'set', peer, 'up')
}

async function ip(lab: Lab, ...args: readonly string[]): Promise<void> {
  await lab.ask('run', { command: ['ip', ...args] })
}
