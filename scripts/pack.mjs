// Makes the tarballs to publish: the root package `tapferry`, and for each platform whose addon is in dist/ a package
// that holds it.
//
//   npm pack [--pack-destination DIR] [--dry-run]     builds first, and ends here (postpack)
//   node scripts/pack.mjs [the same options]          builds only what is missing
//
// The committed package.json is that of the development: it names no platform package, because none exists until its
// addon is built. So npm never packs this tree, but copies in a temporary directory. In `npm pack` a tarball of the
// development manifest is there by now, which the right one replaces. Tarballs are moved to where they belong
// when all of them are made; when anything fails there is none, neither half a set nor npm's own.
//
// Where things are and how a platform is added: docs/packaging.md.

import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { parseTriple } from '@napi-rs/cli'
import { rolldown } from 'rolldown'
import bundleConfig from '../rolldown.config.mjs'
import { cargoMetadata } from './cargo.mjs'
import { ROOT } from './setup.mjs'
import { addonNotices, bundleNotices } from './third-party.mjs'

const NOTICES = 'THIRD-PARTY-LICENSES'
const LICENSES = ['LICENSE-APACHE', 'LICENSE-MIT']
const LIBC = { gnu: 'glibc', musl: 'musl' }

/** Of the committed manifest, what serves the development alone. */
const DEVELOPMENT_FIELDS = ['private', 'scripts', 'devDependencies', 'napi', 'ava', 'overrides']

const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'))

/** As npm names tarballs: `@tapferry/binding-linux-x64-gnu` -> `tapferry-binding-linux-x64-gnu-0.1.0.tgz`. */
const tarballName = name => `${name.replace(/^@/, '').replace('/', '-')}-${manifest.version}.tgz`

const underNpmPack = process.env.npm_lifecycle_event === 'postpack'
const destination = requestedDestination()

// Ctrl-C also ends the npm that is waited for; what was begun is then removed like after any other failure.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})

const work = mkdtempSync(join(tmpdir(), 'tapferry-pack-'))
try {
  await main()
} catch (error) {
  if (underNpmPack && !destination.dryRun) {
    rmSync(join(destination.directory, tarballName(manifest.name)), { force: true })
  }
  process.stderr.write(`pack: ${error.message}\n`)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}

async function main() {
  checkVersions()
  const platforms = builtPlatforms()
  const staged = [...platforms.map(stagePlatform), await stageRoot(platforms)]
  const { directory, dryRun } = destination
  // On the destination's own file system, so that a tarball appears there whole.
  const made = mkdtempSync(join(dryRun ? work : directory, '.tapferry-pack-'))
  try {
    for (const stage of staged) npmPack(stage, made)
    for (const name of readdirSync(made)) renameSync(join(made, name), join(directory, name))
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
  tell([...platforms.map(({ packageName }) => packageName), manifest.name])
}

/** npm gives scripts its options in the environment, and the directory in which it was started. */
function requestedDestination() {
  const { npm_config_pack_destination, npm_config_dry_run, INIT_CWD } = process.env
  const { values } = parseArgs({
    options: { 'pack-destination': { type: 'string' }, 'dry-run': { type: 'boolean' } },
  })
  const directory = values['pack-destination'] ?? npm_config_pack_destination ?? '.'
  return {
    directory: underNpmPack ? resolve(INIT_CWD ?? '.', directory) : resolve(directory),
    dryRun: values['dry-run'] ?? npm_config_dry_run === 'true',
  }
}

function checkVersions() {
  const crate = cargoMetadata().packages.find(({ name }) => name === 'tapferry-node')
  if (crate.version !== manifest.version) {
    throw new Error(
      `package.json has version ${manifest.version}, Cargo.toml ${crate.version}: make them the same`,
    )
  }
}

/** The platforms of `napi.targets` whose addon is in dist/; this one's is built when there is none at all. */
function builtPlatforms() {
  const { binaryName, packageName, targets } = manifest.napi
  const find = () =>
    targets
      .map(target => {
        const { platformArchABI, platform, arch, abi } = parseTriple(target)
        const file = `${binaryName}.${platformArchABI}.node`
        return { target, platform, arch, abi, file, packageName: `${packageName}-${platformArchABI}` }
      })
      .filter(({ file }) => existsSync(`${ROOT}dist/${file}`))
  if (find().length === 0) run('npm', ['run', '--silent', 'build:native'], ROOT)
  const found = find()
  if (found.length === 0) {
    throw new Error(`no addon in dist/ for any of napi.targets: ${targets.join(', ')}`)
  }
  return found
}

/** The root package; answers with its directory. */
async function stageRoot(platforms) {
  const stage = newStage(manifest.name)
  for (const path of [...manifest.files, 'README.md']) {
    // The bundle is made anew, because only then is it known what is in it.
    if (path !== 'dist/main.mjs') cpSync(`${ROOT}${path}`, join(stage, path), { recursive: true })
  }
  const { code, moduleIds } = await bundle()
  mkdirSync(join(stage, 'dist'))
  writeFileSync(join(stage, 'dist/main.mjs'), code)
  writeFileSync(join(stage, NOTICES), bundleNotices(moduleIds))
  const kept = Object.entries(manifest).filter(([field]) => !DEVELOPMENT_FIELDS.includes(field))
  writeManifest(stage, {
    ...Object.fromEntries(kept),
    files: [...manifest.files, NOTICES],
    optionalDependencies: Object.fromEntries(
      platforms.map(({ packageName }) => [packageName, manifest.version]),
    ),
  })
  return stage
}

async function bundle() {
  const bundler = await rolldown({ ...bundleConfig, cwd: ROOT })
  const { output } = await bundler.generate(bundleConfig.output)
  await bundler.close()
  const [{ code, modules }] = output
  return { code, moduleIds: Object.keys(modules) }
}

/** A platform's package; answers with its directory. */
function stagePlatform({ target, platform, arch, abi, file, packageName }) {
  const stage = newStage(packageName)
  cpSync(`${ROOT}dist/${file}`, join(stage, file))
  for (const license of LICENSES) cpSync(`${ROOT}${license}`, join(stage, license))
  writeFileSync(join(stage, NOTICES), addonNotices(target))
  writeFileSync(
    join(stage, 'README.md'),
    `# ${packageName}\n\nThe native addon of tapferry for ${target}. Install \`tapferry\`; npm then picks this package by itself.\n`,
  )
  const { version, license, engines } = manifest
  writeManifest(stage, {
    name: packageName,
    version,
    description: `The native addon of tapferry for ${target}`,
    license,
    main: file,
    files: [file, ...LICENSES, NOTICES],
    os: [platform],
    cpu: [arch],
    ...(LIBC[abi] && { libc: [LIBC[abi]] }),
    engines,
  })
  return stage
}

function newStage(packageName) {
  const stage = join(work, packageName.replace('/', '-'))
  mkdirSync(stage)
  return stage
}

function writeManifest(stage, fields) {
  writeFileSync(join(stage, 'package.json'), `${JSON.stringify(fields, null, 2)}\n`)
}

/** npm shows on stderr what is in the tarball. */
function npmPack(stage, made) {
  const dryRun = `--dry-run=${destination.dryRun}`
  run('npm', ['pack', dryRun, '--json=false', '--ignore-scripts', '--pack-destination', made], stage)
}

function run(command, args, cwd) {
  // What they say is no result of ours: stdout is kept for the names of the tarballs.
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] })
  if (status !== 0) {
    throw new Error(
      `${command} ${args[0]} failed in ${basename(cwd)}: ${error?.message ?? 'the reason is above'}`,
    )
  }
}

/** The names of the tarballs on stdout, where npm prints that of the root package by itself, or JSON. */
function tell(packageNames) {
  if (process.env.npm_config_json === 'true') return
  const others = packageNames.filter(name => !underNpmPack || name !== manifest.name)
  for (const name of others) process.stdout.write(`${tarballName(name)}\n`)
}
