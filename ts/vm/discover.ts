/**
 * The VMs of this host: QEMU processes, and the monitors that they were given, wherever that was.
 *
 *     command-line.ts   what such a process was started with
 *     taps.ts           the TAPs that it holds
 *     net-clients.ts    its netdevs and NICs, as the monitor knows them; info-network.ts reads the answer
 *
 * QEMU's own arguments say more than any list of usual places: plain QEMU, libvirt, Proxmox VE and Incus all
 * start it with its monitors. Where a place belongs to a manager, the path tells.
 */

import { readFile, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { sameFile } from '../host/files.ts'
import { netnsIdOfProcess, ownNetnsId } from '../host/namespaces.ts'
import {
  argumentsOf,
  descriptorsOf,
  listPids,
  printable,
  socketInode,
  workingDirectoryOf,
} from '../host/processes.ts'
import { type MonitorOption, parseQemuCommandLine, type QemuCommandLine } from './command-line.ts'

export interface VmProcess extends QemuCommandLine {
  readonly pid: number
  /** Those that can be connected to from here, in QEMU's order, nobody's before a manager's. */
  readonly places: readonly MonitorPlace[]
}

export interface MonitorPlace {
  /** As `--qmp` takes it. */
  readonly address: string
  /** Who made this monitor for itself, and may be connected to it all the time. */
  readonly manager: Manager | undefined
}

export type Manager = 'libvirt' | 'Proxmox VE' | 'Incus'

/** facts/qemu.md: where each has its own monitors. */
const MANAGERS: readonly (readonly [path: RegExp, manager: Manager])[] = [
  [/\/libvirt\/qemu\/.*\/(?:qemu\.)?monitor\.sock$/, 'libvirt'],
  [/\/run\/qemu-server\/\d+\.qmp$/, 'Proxmox VE'],
  [/\/(?:incus|lxd)\/(?:.*\/)?qemu\.monitor$/, 'Incus'],
]

/** Whose monitor a path is, if it is a manager's own. Pure. */
export function managerOf(address: string): Manager | undefined {
  return MANAGERS.find(([path]) => path.test(address))?.[1]
}

/** Every QEMU that runs here, in order of its process's number. */
export async function findVms(): Promise<VmProcess[]> {
  const found: VmProcess[] = []
  for (const pid of await listPids()) {
    const vm = await vmProcess(pid)
    if (vm !== undefined) found.push(vm)
  }
  return found
}

/** The VM that a process is, if it is QEMU. */
export async function vmProcess(pid: number): Promise<VmProcess | undefined> {
  const [program = '', ...args] = (await argumentsOf(pid)).map(printable)
  if (!isQemu(program)) return undefined
  const commandLine = parseQemuCommandLine(args)
  const addresses = await Promise.all(commandLine.monitors.map(option => reach(pid, option)))
  const places = addresses
    .filter(address => address !== undefined)
    .map(address => ({ address, manager: managerOf(address) }))
  const [own, managed] = [places.filter(({ manager }) => !manager), places.filter(({ manager }) => manager)]
  return { ...commandLine, pid, places: [...own, ...managed] }
}

function isQemu(program: string): boolean {
  return /^(?:qemu-system-[\w-]+|qemu-kvm|kvm)$/.test(basename(program))
}

/** The address under which a monitor of that process is to be had from here. */
async function reach(pid: number, option: MonitorOption): Promise<string | undefined> {
  if ('fd' in option) {
    const path = await boundPath(pid, option.fd)
    return path === undefined ? undefined : fromHere(pid, path)
  }
  const path = /^unix:(.*)$/s.exec(option.address)?.[1]
  if (path !== undefined) return fromHere(pid, resolve((await workingDirectoryOf(pid)) ?? '/', path))
  // A port belongs to a network namespace.
  return (await netnsIdOfProcess(pid)) === (await ownNetnsId()) ? option.address : undefined
}

/** A path of that process, as this one reaches it: containers have file systems of their own. */
async function fromHere(pid: number, path: string): Promise<string> {
  const there = `/proc/${pid}/root${path}`
  const reachable = await stat(there).catch(() => undefined)
  return reachable === undefined || (await sameFile(path, there)) ? path : there
}

/** Where a unix socket that was handed over is bound: net/unix, by its inode. */
async function boundPath(pid: number, fd: number): Promise<string | undefined> {
  const descriptor = (await descriptorsOf(pid)).find(each => each.fd === fd)
  const inode = descriptor === undefined ? undefined : socketInode(descriptor)
  if (inode === undefined) return undefined
  const table = await readFile(`/proc/${pid}/net/unix`, 'utf8').catch(() => '')
  return new RegExp(`^(?:\\S+ +){6} *${inode} (/.*)$`, 'm').exec(table)?.[1]
}
