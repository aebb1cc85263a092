/** Whether somebody is bound to an address for datagrams, read from /proc (proc_net_unix(5); net/udp as net/tcp). */

import type { DatagramPlace } from '../stream/datagrams.ts'
import { sameFile } from './files.ts'
import { hex, isOfThisHost, linesOf } from './listeners.ts'

/** SOCK_DGRAM (linux/net.h), as net/unix writes it. */
const DATAGRAMS = '0002'

/** In this network namespace, whoever it is; undefined for another host. */
export async function isBound(place: DatagramPlace): Promise<boolean | undefined> {
  if (place.kind === 'unix') return isPathBound(place.path)
  if (place.host !== '' && !(await isOfThisHost(place.host))) return undefined
  const rows = await Promise.all(['udp', 'udp6'].map(file => linesOf(`/proc/self/net/${file}`)))
  return rows.flat().some(row => row.trim().split(/\s+/)[1]?.endsWith(hex(place.port)))
}

/** Num RefCount Protocol Flags Type St Inode Path */
async function isPathBound(path: string): Promise<boolean> {
  const names = (await linesOf('/proc/self/net/unix')).flatMap(line => {
    const [, type, name] = /^\S+ \S+ \S+ \S+ (\S+) \S+ +\d+ (.+)$/.exec(line) ?? []
    return type === DATAGRAMS && name !== undefined ? [name] : []
  })
  const same = names.map(async name => name === path || (await sameFile(name, path)))
  return (await Promise.all(same)).includes(true)
}
