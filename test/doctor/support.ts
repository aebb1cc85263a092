/**
 * Faults: doctor says nothing of one while all is well, finds it when it is there, and its fix, run as it is
 * printed, removes it.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { cleanEnv, type Finished, ROOT, Running, records, run, TAPFERRY } from '../support/cli.ts'
import { Lab, Unavailable } from '../support/lab.ts'
import { assertValid } from '../support/schema.ts'

/** A line of `doctor --json`. */
export interface FoundLine {
  readonly code: string
  readonly severity: 'error' | 'warning' | 'info' | 'ok'
  readonly about: string
  readonly message: string
  readonly fix?: string
  readonly note?: string
}

export interface Diagnosis {
  readonly status: number | null
  readonly findings: readonly FoundLine[]
}

/** How doctor is called. */
export interface Call {
  /** Its options; without any the two TAPs of `twoTaps`. */
  readonly args?: readonly string[]
  /** What goes before it, such as `setpriv ...`. */
  readonly wrapper?: readonly string[]
}

export interface Fault {
  readonly code: string
  readonly severity: FoundLine['severity']
  /** What doctor ends with. */
  readonly status: number
  /** Part of what the finding is about, where there could be several. */
  readonly about?: string
  /** A part of the message that says what is so. */
  readonly message: RegExp
  /** What else is rightly found, of severity error or warning. */
  readonly also?: readonly string[]
  /** The call that finds nothing of it, and the one that does; equal unless the call itself is the fault. */
  readonly healthy?: Call
  readonly faulty?: Call
  readonly seed?: () => Promise<unknown>
}

export const ENDS = ['--in-netdev=tapA', '--out-netdev=tapB']

/** Ends without a fault. */
export async function twoTaps(lab: Lab): Promise<void> {
  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
}

/** A cable without a fault: as it is made, a veth takes frames that are to be segmented inside a tunnel. */
export async function cable(lab: Lab, name: string, peer: string): Promise<void> {
  await lab.ask('veth', { name, peer })
  for (const end of [name, peer]) {
    await shell(
      lab,
      `ethtool -K ${end} tx-gre-segmentation off tx-gre-csum-segmentation off ` +
        'tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off',
    )
    await lab.ask('link', { name: end, up: true })
  }
}

/** Runs a command in the lab, as its operator would; one that fails is a failed set-up. */
export async function shell(lab: Lab, command: string): Promise<void> {
  await lab.ask('run', { command: ['sh', '-c', command] })
}

export async function doctor(t: ExecutionContext, lab: Lab, call: Call = {}): Promise<Diagnosis> {
  const { args = ENDS, wrapper = [] } = call
  return diagnosis(t, await run(...lab.inside(...wrapper, TAPFERRY, 'doctor', ...args, '--json')))
}

/** Every line is as schemas/ say, and the last one sums up. */
function diagnosis(t: ExecutionContext, { status, stdout, stderr }: Finished): Diagnosis {
  const lines = records(stdout)
  for (const line of lines) assertValid(t, 'doctor', line)
  const summary = lines.at(-1)
  t.is(summary?.['type'], 'diagnosis', stderr)
  t.is(summary?.['exit_status'], status)
  const findings = lines.slice(0, -1) as unknown as FoundLine[]
  for (const [severity, field] of [
    ['error', 'errors'],
    ['warning', 'warnings'],
    ['info', 'infos'],
    ['ok', 'ok'],
  ] as const) {
    t.is(summary?.[field], findings.filter(finding => finding.severity === severity).length)
  }
  return { status, findings }
}

/** Codes of what is wrong, sorted. */
export function problems({ findings }: Diagnosis): string[] {
  const wrong = findings.filter(({ severity }) => severity === 'error' || severity === 'warning')
  return [...new Set(wrong.map(({ code }) => code))].sort()
}

/** All of a code, about something. */
export function found({ findings }: Diagnosis, code: string, about = ''): FoundLine[] {
  return findings.filter(finding => finding.code === code && finding.about.includes(about))
}

/** What doctor says of a fault that no command removes. */
export async function finds(t: ExecutionContext, lab: Lab, fault: Fault): Promise<FoundLine> {
  const { code, severity, status, about, message, also = [], healthy, faulty, seed } = fault
  // Where the call is the fault, there is nothing to be done between one and the other.
  const callsDiffer = healthy !== undefined && seed === undefined
  const [before, together] = await Promise.all([
    doctor(t, lab, healthy ?? faulty),
    callsDiffer ? doctor(t, lab, faulty) : undefined,
  ])
  t.deepEqual(found(before, code, about), [], 'before there is the fault')
  t.deepEqual(problems(before), [])
  t.is(before.status, 0)

  await seed?.()
  const diagnosed = together ?? (await doctor(t, lab, faulty))
  const [finding, ...more] = found(diagnosed, code, about)
  if (finding === undefined) throw new Error(`no ${code}, but ${problems(diagnosed)}`)
  t.deepEqual(more, [])
  t.is(finding.severity, severity)
  t.regex(finding.message, message)
  const wrong = severity === 'error' || severity === 'warning' ? [code, ...also] : also
  t.deepEqual(problems(diagnosed), [...wrong].sort())
  t.is(diagnosed.status, status)
  return finding
}

/** Finds a fault and removes it by what doctor says. Returns the finding. */
export async function findsAndMends(t: ExecutionContext, lab: Lab, fault: Fault): Promise<FoundLine> {
  const finding = await finds(t, lab, fault)
  const { fix } = finding
  if (fix === undefined) throw new Error(`no fix: ${JSON.stringify(finding)}`)
  const path = `${ROOT}bin:${process.env['PATH'] ?? ''}`
  const finished = await run(...lab.inside('sh', '-c', fix), { env: { PATH: path } })
  // Some faults are in how doctor was called: then the fix is another call, and tells itself.
  const asksAgain = /\btapferry doctor\b/.test(fix)
  if (!asksAgain) t.is(finished.status, 0, `${fix}\n${finished.stderr}`)
  const after = asksAgain ? diagnosis(t, finished) : await doctor(t, lab, fault.faulty)
  t.deepEqual(found(after, fault.code, fault.about), [], `after ${fix}`)
  t.deepEqual(problems(after), [], `after ${fix}`)
  t.is(after.status, 0)
  return finding
}

/** A process of its own, of which nothing is left after the test. */
export function background(t: ExecutionContext, command: ReturnType<Lab['inside']>): Running {
  const running = new Running(command)
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  return running
}

/** Another tapferry in the lab, which is ready when this resolves. */
export async function ferry(t: ExecutionContext, lab: Lab, ...args: readonly string[]): Promise<Running> {
  const running = background(t, lab.inside(TAPFERRY, 'run', ...args))
  await running.ready()
  return running
}

/** A process in the lab's network namespace: the lab itself. */
export function pidOf(lab: Lab): string {
  const pid = lab
    .inside()
    .flat()
    .join(' ')
    .match(/--net=\/proc\/(?<pid>\d+)\//)?.groups?.['pid']
  if (pid === undefined) throw new Error('the lab is entered in another way')
  return pid
}

/** A lab whose network namespace has a name for ip-netns(8), until the test ends. */
export async function namedLab(t: ExecutionContext): Promise<{ lab: Lab; name: string }> {
  const lab = await Lab.open()
  const name = `tapferry-${pidOf(lab)}`
  const attached = spawnSync('ip', ['netns', 'attach', name, pidOf(lab)], { encoding: 'utf8' })
  t.teardown(async () => {
    spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' })
    await lab.close()
  })
  if (attached.status !== 0) throw new Unavailable('no network namespace can be named here')
  return { lab, name }
}

const NOBODY = 65_534

/** setpriv(1) as user nobody, with these capabilities and no others. */
export function asNobody(...capabilities: readonly string[]): string[] {
  const list = capabilities.map(name => `+${name}`).join(',')
  const kept = capabilities.length === 0 ? [] : [`--inh-caps=${list}`, `--ambient-caps=${list}`]
  return ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...kept]
}

/** A user namespace of `unshare --map-root-user` has one user; and nobody may have no way to this checkout. */
export async function needsNobody(): Promise<true> {
  const [, , count = '0'] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/)
  if (Number(count) <= NOBODY) throw new Unavailable('there is no user nobody in this user namespace')
  const [file = '', ...args] = [...asNobody(), TAPFERRY, '--version']
  const { status } = spawnSync(file, args, { env: cleanEnv(), stdio: 'ignore' })
  if (status !== 0) throw new Unavailable('user nobody may not run this checkout')
  return true
}
