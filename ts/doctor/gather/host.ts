/** This process and its privileges, the kernel, the memory. */

import { readFile } from 'node:fs/promises'
import { release } from 'node:os'
import type { PrivilegeProbe } from '../../binding.ts'
import { netnsIdAt } from '../../host/namespaces.ts'
import { loadBinding } from '../../native.ts'
import type { Capability, End, Kernel, OwnProcess } from '../facts.ts'

/** Bits of CapEff in proc(5). */
const CAPABILITY_BITS: Readonly<Record<Capability, bigint>> = {
  dac_read_search: 2n,
  net_admin: 12n,
  net_raw: 13n,
  sys_ptrace: 19n,
  sys_admin: 21n,
}

/** `ends`: where the kernel is to be tried. */
export async function ownProcess(ends: readonly (Pick<End, 'place'> | undefined)[]): Promise<OwnProcess> {
  const text = await readFile('/proc/self/status', 'utf8')
  const gid = process.getegid?.() ?? 0
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(text)?.[1] ?? '0'}`)
  const held = Object.entries(CAPABILITY_BITS).filter(([, bit]) => (effective >> bit) & 1n)
  const paths = new Set(ends.map(end => end?.place.netns))
  const probes = (await Promise.all([...paths].map(path => probe(path)))).flat()
  return {
    uid: process.geteuid?.() ?? 0,
    gid,
    // getgroups(2) may tell the effective one among them.
    groups: (process.getgroups?.() ?? []).filter(group => group !== gid),
    capabilities: new Set(held.map(([name]) => name as Capability)),
    // Where no namespace of theirs is to be entered, this one tells of everything else.
    probes: probes.length > 0 ? probes : await probe(undefined),
  }
}

/** A namespace that is closed to us is told by what is in it. */
async function probe(path: string | undefined): Promise<PrivilegeProbe[]> {
  if (path !== undefined && (await netnsIdAt(path)) === undefined) return []
  return loadBinding()
    .probePrivileges(path)
    .catch(() => [])
}

export function kernel(): Kernel {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(release()) ?? []
  return { release: release(), major: Number(major), minor: Number(minor) }
}

export async function memoryAvailable(): Promise<number> {
  const text = await readFile('/proc/meminfo', 'utf8')
  return Number(/^MemAvailable:\s*(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024
}
