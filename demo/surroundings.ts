/** What this machine offers to the demo, and what is missing. */

import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { ROOT, run } from '../test/support/cli.ts'

const TARGET = process.env['CARGO_TARGET_DIR'] ?? `${ROOT}target`

export const TESTBED = `${TARGET}/testbed/testbed`
export const QEMU = 'qemu-system-x86_64'

const NAMESPACE = ['unshare', '--user', '--map-root-user', '--net', '--mount'] as const

/** The demo cannot run here. */
export class Missing extends Error {
  readonly hint: string

  constructor(what: string, hint: string) {
    super(what)
    this.hint = hint
  }
}

/** What QEMU boots. */
export interface GuestImage {
  readonly qemuVersion: string
  /** Paths for -kernel and -initrd. */
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  /** The kernel's release. */
  readonly version: string
}

/** A real guest, or why there is none. */
export type Guest = { readonly image: GuestImage } | { readonly missing: string }

/** Throws Missing unless this user may make TAPs. */
export function requireTaps(): void {
  const path = '/dev/net/tun'
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw new Missing(
      `${path} cannot be opened (${(error as NodeJS.ErrnoException).code}), and the demo needs TAP interfaces`,
      'run it as root; where the file is missing: modprobe tun',
    )
  }
}

/** The command that gives a namespace of its own to a user who is not root; undefined for root. Throws Missing. */
export function userNamespace(): readonly [string, ...string[]] | undefined {
  if (process.getuid?.() === 0) return undefined
  const [command, ...options] = NAMESPACE
  const { status, stderr } = spawnSync(command, [...options, 'true'], { encoding: 'utf8' })
  if (status === 0) return NAMESPACE
  const why = stderr?.trim() || `${command} is not installed`
  throw new Missing(`this user is not root, and user namespaces are refused: ${why}`, 'run the demo as root')
}

/** Looks for QEMU and a kernel, and makes the guest's image of it. */
export async function findGuest(): Promise<Guest> {
  if (process.arch !== 'x64') return { missing: 'the guest is made for x86_64 hosts only' }
  const version = spawnSync(QEMU, ['--version'], { encoding: 'utf8' })
  if (version.status !== 0)
    return { missing: `${QEMU} is not installed (Debian: apt install qemu-system-x86)` }
  const [qemuVersion = 'of unknown version'] = /\d+\.\d+\.\d+/.exec(version.stdout) ?? []
  const built = await run(TESTBED, ['guest-image', '--out', `${TARGET}/demo-guest`])
  if (built.status !== 0) return { missing: built.stderr.trim().split('\n').at(-1) ?? 'no guest image' }
  return { image: { qemuVersion, ...JSON.parse(built.stdout) } }
}
