/**
 * The TAPs that a VM's process holds open, and which of them are behind a netdev. The process itself knows what
 * its monitor does not tell: the interface behind a descriptor that was handed over, and the network namespace.
 */

import { readFile } from 'node:fs/promises'
import type { TapDescriptor } from '../binding.ts'
import { netnsIdOfProcess } from '../host/namespaces.ts'
import { descriptorsOf } from '../host/processes.ts'
import { loadBinding } from '../native.ts'
import type { NetClient } from './info-network.ts'

/** A descriptor of a TAP, a queue each. */
export interface VmTap {
  /** The process that holds it. */
  readonly pid: number
  readonly fd: number
  /** Its name in its network namespace. */
  readonly interface: string
  /** `net:[...]`: the interface's own where the kernel tells, else the process's, which is the likeliest. */
  readonly namespace: string | undefined
}

/** In order of their descriptors; empty for a process that may not be looked into. */
export async function tapsOf(pid: number): Promise<VmTap[]> {
  // A macvtap's is /dev/tapN, by the number of its interface.
  const tuns = (await descriptorsOf(pid)).filter(({ target }) => /\/net\/tun$|^\/dev\/tap\d+$/.test(target))
  const home = tuns.length === 0 ? undefined : await netnsIdOfProcess(pid)
  const taps = tuns.map(async ({ fd }): Promise<VmTap[]> => {
    const told = await askKernel(pid, fd)
    const name = told?.interface ?? (await nameInFdinfo(pid, fd))
    return name === undefined ? [] : [{ pid, fd, interface: name, namespace: told?.namespace ?? home }]
  })
  return (await Promise.all(taps)).flat().sort((a, b) => a.fd - b.fd)
}

/**
 * Those of a netdev, a queue each: by its descriptor, by its interface, or, where the monitor tells neither,
 * whatever no other netdev has, if that is one interface only. Pure.
 */
export function tapsBehind(netdev: NetClient, others: readonly NetClient[], taps: readonly VmTap[]): VmTap[] {
  const { fd, interface: name } = netdev
  if (fd !== undefined) return sameInterface(taps, tap => tap.fd === fd)
  if (name !== undefined) return sameInterface(taps, tap => tap.interface === name)
  const taken = others
    .filter(other => other !== netdev && (other.fd !== undefined || other.interface !== undefined))
    .flatMap(other => tapsBehind(other, [], taps))
  const rest = taps.filter(tap => !taken.includes(tap))
  const queues = sameInterface(rest, () => true)
  return queues.length === rest.length ? queues : []
}

function sameInterface(taps: readonly VmTap[], fits: (tap: VmTap) => boolean): VmTap[] {
  const first = taps.find(fits)
  return taps.filter(tap => tap.interface === first?.interface && tap.namespace === first.namespace)
}

/** Undefined without the right to look into the process (CAP_SYS_PTRACE, or the same user), and for a free one. */
async function askKernel(pid: number, fd: number): Promise<TapDescriptor | undefined> {
  const told = await loadBinding()
    .inspectTapDescriptor(pid, fd)
    .catch(() => undefined)
  return told?.interface === '' ? undefined : told
}

/** drivers/net/tun.c, tun_chr_show_fdinfo: `iff:` and the name. */
async function nameInFdinfo(pid: number, fd: number): Promise<string | undefined> {
  const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '')
  return /^iff:\t(\S.*)$/m.exec(info)?.[1]
}
