/**
 * Other processes of this host, as proc(5) shows them. What may not be read (another user's process, without
 * privilege) is simply not there.
 */

import { readdir, readFile, readlink } from 'node:fs/promises'

export interface ProcessState {
  readonly pid: number
  /** The kernel's short name of it (comm), at most 15 bytes. */
  readonly name: string
  /** Stopped by a signal or by a debugger. */
  readonly frozen: boolean
}

/** A descriptor and what it is of: `/dev/net/tun`, `socket:[4711]`. */
export interface Descriptor {
  readonly fd: number
  readonly target: string
}

/** Every process there is, in order of their numbers. */
export async function listPids(): Promise<number[]> {
  const entries = await readdir('/proc')
  return entries
    .filter(entry => /^\d+$/.test(entry))
    .map(Number)
    .sort((a, b) => a - b)
}

/** stat: pid (comm) state ...; comm may hold blanks and parentheses, so the last parenthesis counts. */
export async function processState(pid: number): Promise<ProcessState | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const open = stat.indexOf('(')
  const close = stat.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const state = stat.slice(close + 2, close + 3)
  return { pid, name: printable(stat.slice(open + 1, close)), frozen: state === 'T' || state === 't' }
}

/**
 * When it was started, in ticks since the boot (proc(5), stat, field 22): with its number it is the only one. Undefined
 * for one that has ended, waited for or not.
 */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // The state is field 3.
  return state === 'Z' || state === 'X' ? undefined : fields[22 - 4]
}

/** What other users may have named, fit for a terminal: without control characters. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}

/** Its arguments, the program's name first; empty for a kernel thread. */
export async function argumentsOf(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return text === '' ? [] : text.replace(/\0$/, '').split('\0')
}

export async function workingDirectoryOf(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/cwd`).catch(() => undefined)
}

export async function descriptorsOf(pid: number): Promise<Descriptor[]> {
  const entries = await readdir(`/proc/${pid}/fd`).catch(() => [])
  const descriptors = entries.map(async entry => {
    const target = await readlink(`/proc/${pid}/fd/${entry}`).catch(() => undefined)
    return target === undefined ? [] : [{ fd: Number(entry), target }]
  })
  return (await Promise.all(descriptors)).flat()
}

/** The inode of a socket's descriptor. */
export function socketInode({ target }: Descriptor): string | undefined {
  return /^socket:\[(\d+)\]$/.exec(target)?.[1]
}

/** All processes that have one of these sockets; slow, because it looks at every descriptor of every process. */
export async function socketHolders(inodes: ReadonlySet<string>): Promise<ProcessState[]> {
  const holders: ProcessState[] = []
  for (const pid of inodes.size === 0 ? [] : await listPids()) {
    const state = (await holds(pid, inodes)) ? await processState(pid) : undefined
    if (state !== undefined) holders.push(state)
  }
  return holders
}

/** One that has one of these sockets: the oldest, so not a child that it left it to. */
export async function firstHolder(inodes: ReadonlySet<string>): Promise<number | undefined> {
  for (const pid of inodes.size === 0 ? [] : await listPids()) {
    if (await holds(pid, inodes)) return pid
  }
  return undefined
}

async function holds(pid: number, inodes: ReadonlySet<string>): Promise<boolean> {
  return (await descriptorsOf(pid)).some(descriptor => inodes.has(socketInode(descriptor) ?? ''))
}
