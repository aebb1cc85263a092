/** The tarballs of `npm pack`, and what a user has who installs them on a machine without Rust. */

import { mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { homedir, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { platformTriple } from '../../ts/addon.ts'
import { type Finished, ROOT, Running, records, run } from '../support/cli.ts'
import { labTest } from '../support/lab.ts'

const TRIPLE = platformTriple()
const PLATFORM_PACKAGE = `@tapferry/binding-${TRIPLE}`
const LEGAL = ['LICENSE-APACHE', 'LICENSE-MIT', 'THIRD-PARTY-LICENSES']

let scratch = ''
/** A directory for the PATH with nothing but what tapferry needs: node, npm, and readlink for its launcher. */
let tools = ''
let version = ''
let rootTarball = ''
let platformTarball = ''

test.before('npm pack', async t => {
  t.timeout(300_000, 'prepack builds what is not up to date')
  scratch = await mkdtemp(join(tmpdir(), 'tapferry-package-'))
  tools = join(scratch, 'tools')
  await mkdir(tools)
  await symlink(process.execPath, join(tools, 'node'))
  for (const tool of ['npm', 'readlink']) await symlink(await pathOf(tool), join(tools, tool))

  const tarballs = join(scratch, 'tarballs')
  await mkdir(tarballs)
  const packed = await run('npm', ['pack', '--silent', '--pack-destination', tarballs], { cwd: ROOT })
  t.is(packed.status, 0, packed.stderr)
  version = JSON.parse(await readFile(`${ROOT}package.json`, 'utf8')).version
  const names = [`tapferry-binding-${TRIPLE}-${version}.tgz`, `tapferry-${version}.tgz`]
  t.deepEqual((await readdir(tarballs)).sort(), [...names].sort(), 'both, and nothing half-written')
  t.is(packed.stdout, `${names.join('\n')}\n`)
  platformTarball = join(tarballs, `tapferry-binding-${TRIPLE}-${version}.tgz`)
  rootTarball = join(tarballs, `tapferry-${version}.tgz`)
})

test.after.always(() => rm(scratch, { recursive: true, force: true }))

async function pathOf(tool: string): Promise<string> {
  const { stdout } = await run('sh', ['-c', `command -v ${tool}`])
  return realpath(stdout.trim())
}

/** What a tarball holds: paths without `package/` -> bytes. */
async function unpack(t: ExecutionContext, tarball: string): Promise<Map<string, Buffer>> {
  const directory = await mkdtemp(join(scratch, 'unpacked-'))
  const { status, stderr } = await run('tar', ['-xzf', tarball, '-C', directory])
  t.is(status, 0, stderr)
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
  const contents = files.map(async (file): Promise<[string, Buffer]> => {
    return [file.slice(`${directory}/package/`.length), await readFile(file)]
  })
  return new Map(await Promise.all(contents))
}

/** Runs a command with nothing of this environment: no compiler, no cargo, no configuration of npm. */
function clean(...command: readonly string[]): Promise<Finished> {
  return run('env', cleanly(...command).slice(1), { cwd: scratch })
}

function cleanly(...command: readonly string[]): string[] {
  return ['env', '-i', `PATH=${tools}`, `HOME=${scratch}/home`, ...command]
}

async function install(t: ExecutionContext, prefix: string, ...args: readonly string[]): Promise<void> {
  await mkdir(prefix, { recursive: true })
  const quiet = ['--no-audit', '--no-fund', '--no-update-notifier']
  const { status, stderr } = await clean('npm', 'install', '--offline', ...quiet, '--prefix', prefix, ...args)
  t.is(status, 0, stderr)
}

test.serial(
  'the root package holds the command line, its schemas and the licences, and no addon',
  async t => {
    const files = await unpack(t, rootTarball)
    const schemas = (await readdir(`${ROOT}schemas`)).map(name => `schemas/${name}`)
    const docs = (await readdir(`${ROOT}docs`)).map(name => `docs/${name}`)
    const expected = [
      'CHANGELOG.md',
      'README.md',
      'bin/tapferry',
      'dist/main.mjs',
      'package.json',
      ...docs,
      ...schemas,
    ]
    t.deepEqual([...files.keys()].sort(), [...expected, ...LEGAL].sort())

    const manifest = JSON.parse(String(files.get('package.json')))
    const development = ['private', 'scripts', 'devDependencies', 'dependencies', 'napi', 'ava', 'overrides']
    t.deepEqual(
      development.filter(field => field in manifest),
      [],
    )
    t.deepEqual(manifest.optionalDependencies, { [PLATFORM_PACKAGE]: version })
    t.like(manifest, { name: 'tapferry', version, bin: { tapferry: 'bin/tapferry' }, os: ['linux'] })
  },
)

test.serial('the platform package holds the addon, and npm can tell which machine it is for', async t => {
  const files = await unpack(t, platformTarball)
  const addon = `tapferry.${TRIPLE}.node`
  t.deepEqual([...files.keys()].sort(), [...LEGAL, 'README.md', addon, 'package.json'].sort())
  const { description: _, engines: __, ...manifest } = JSON.parse(String(files.get('package.json')))
  t.deepEqual(manifest, {
    name: PLATFORM_PACKAGE,
    version,
    license: 'MIT OR Apache-2.0',
    main: addon,
    files: [addon, ...LEGAL],
    os: ['linux'],
    cpu: [process.arch],
    libc: ['glibc'],
  })
})

test.serial('nothing tells of the machine that it was made on', async t => {
  const cargoHome = process.env['CARGO_HOME'] ?? join(homedir(), '.cargo')
  const telling = [ROOT, scratch, `${cargoHome}/`, 'registry/src', `${homedir()}/.`]
  // A short name is a word like any other.
  if (hostname().length >= 8 && hostname() !== 'localhost') telling.push(hostname())
  for (const tarball of [rootTarball, platformTarball]) {
    for (const [path, bytes] of await unpack(t, tarball)) {
      for (const words of telling) t.false(bytes.includes(words), `${path} holds ${words}`)
    }
  }
})

test.serial('the licences of others travel with what is made of it', async t => {
  const bundled = String((await unpack(t, rootTarball)).get('THIRD-PARTY-LICENSES'))
  for (const name of ['chalk', 'clipanion', 'typanion'])
    t.regex(bundled, new RegExp(`^  ${name} \\d.*, MIT$`, 'm'))
  t.is(bundled.match(/Permission is hereby granted/g)?.length, 3)
  const linked = String((await unpack(t, platformTarball)).get('THIRD-PARTY-LICENSES'))
  for (const name of ['libc', 'napi', 'netlink-packet-route', 'rustix'])
    t.regex(linked, new RegExp(`^  ${name} \\d.*, .*MIT`, 'm'))
  const [list = ''] = linked.split('=====', 1)
  for (const [, title] of list.matchAll(/^ {2}(.+)$/gm))
    t.true(linked.includes(`\n${title}\n`), `${title}: no text`)
  t.notRegex(linked, /tapferry-|proptest|undefined/)
})

labTest('both tarballs, installed without a compiler, forward frames', async (t, lab) => {
  const prefix = join(scratch, 'global')
  await install(t, prefix, '--global', rootTarball, platformTarball)
  const tapferry = join(prefix, 'bin/tapferry')
  t.deepEqual(await clean(tapferry, '--version'), {
    status: 0,
    signal: null,
    stdout: `tapferry ${version}\n`,
    stderr: '',
  })
  t.regex((await clean(tapferry, '--help')).stdout, /^Examples$/m)

  await lab.ask('tap', { name: 'tapA' })
  await lab.ask('tap', { name: 'tapB' })
  const ends = ['--in-netdev=tapA', '--out-netdev=tapB']
  const running = new Running(lab.inside(...cleanly(tapferry, 'run', ...ends, '--json')))
  t.teardown(async () => {
    await running.stop('SIGKILL')
  })
  await running.ready()
  await lab.ask('send', { netdev: 'tapA', count: 1000, rate: 20_000 })
  t.is((await lab.ask('received', { netdev: 'tapB', atLeast: 1000 }))['frames'], 1000)
  const { status, stdout } = await running.stop()
  t.is(status, 0)
  t.like(records(stdout).at(-1), { type: 'summary', forwarded: 1000, dropped: 0 })
})

const WITHOUT_PLATFORM_PACKAGE = [
  ['a registry that does not have the platform package', []],
  ['--omit=optional', ['--omit=optional']],
] as const

for (const [cause, options] of WITHOUT_PLATFORM_PACKAGE) {
  test.serial(`installed with ${cause}, run explains what is missing, and its remedy works`, async t => {
    const prefix = join(scratch, `without-${options.length}`)
    await install(t, prefix, ...options, rootTarball)
    const tapferry = join(prefix, 'node_modules/.bin/tapferry')
    t.is((await clean(tapferry, '--version')).status, 0)

    const command = [tapferry, 'run', '--in-netdev=none0', '--out-netdev=none1', '--json']
    const missing = await clean(...command)
    t.is(missing.status, 1)
    t.like(records(missing.stdout)[0], { type: 'error', code: 'ADDON_MISSING', exit_status: 1 })
    const [message, ...hint] = missing.stderr.split('\n')
    t.is(
      message,
      `tapferry: error: no native addon for ${TRIPLE}: package ${PLATFORM_PACKAGE} is not installed`,
    )
    t.true(hint[0]?.endsWith(`npm install ${PLATFORM_PACKAGE}@${version}`))
    t.regex(hint.join('\n'), /--omit=optional/)

    await install(t, prefix, ...options, platformTarball)
    const found = await clean(...command)
    t.notRegex(found.stderr, /addon/)
    t.regex(found.stderr, /^tapferry: error: .*(none0|AF_PACKET)/)
  })
}

test.serial(
  'when packing fails there is neither half a set nor the tarball that npm made of the checkout',
  async t => {
    const directory = join(scratch, 'failed')
    await mkdir(directory)
    await writeFile(join(directory, `tapferry-${version}.tgz`), 'what npm made before postpack')
    const env = { PATH: tools, npm_lifecycle_event: 'postpack', npm_config_pack_destination: directory }
    const failed = await run(process.execPath, ['scripts/pack.mjs'], { cwd: ROOT, env })
    t.is(failed.status, 1)
    t.regex(failed.stderr, /^pack: cargo metadata failed: .*ENOENT/)
    t.deepEqual(await readdir(directory), [])
  },
)

test.serial('--dry-run writes nothing', async t => {
  const directory = join(scratch, 'dry')
  await mkdir(directory)
  const { status, stdout, stderr } = await run('node', [`${ROOT}scripts/pack.mjs`, '--dry-run'], {
    cwd: directory,
  })
  t.is(status, 0, stderr)
  t.regex(stdout, new RegExp(`^tapferry-binding-${TRIPLE}-`))
  t.deepEqual(await readdir(directory), [])
})
