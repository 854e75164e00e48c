//! How RocksDB is set up, and why.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, MemtableFactory, Options,
    SliceTransform, WriteOptions,
};

use crate::keys::Family;

const MIB: usize = 1 << 20;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory that holds everything.
    pub dir: PathBuf,
    /// Partitions of a new store; an existing one keeps its own number.
    pub partitions: u16,
    /// Bytes of the block cache.
    pub cache_bytes: usize,
    /// `false` acknowledges writes before they are on disk, which loses them when the power fails. It exists so that the
    /// tests of durability can be shown to fail.
    pub fsync: bool,
}

impl StoreOptions {
    /// The defaults, for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            partitions: 16,
            cache_bytes: 64 * MIB,
            fsync: true,
        }
    }

    pub(crate) fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        // Not a later flush_wal: with that, readers see data before it is durable.
        options.set_sync(self.fsync);
        options
    }

    pub(crate) fn open_db(&self, path: &Path, recovery: DBRecoveryMode) -> Result<DB, rocksdb::Error> {
        let cache = Cache::new_lru_cache(self.cache_bytes);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(recovery);
        // Recycled WAL files and point-in-time recovery exclude one another.
        options.set_recycle_log_file_num(0);
        options.set_paranoid_checks(true);
        options.set_max_total_wal_size(256 * MIB as u64);
        options.set_max_background_jobs(2);
        options.set_bytes_per_sync(MIB as u64);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 * MIB);
        options.set_stats_dump_period_sec(0);
        // There is one writer; what makes concurrent ones safe only costs.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        let families =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache)));
        DB::open_cf_descriptors(&options, path, families)
    }

    /// Compactions wait until recovery has compared the tables on disk with those in use.
    pub(crate) fn allow_compactions(&self, db: &DB) -> Result<(), rocksdb::Error> {
        Family::ALL.iter().try_for_each(|family| {
            db.set_options_cf(
                crate::store::family(db, *family),
                &[("disable_auto_compactions", "false")],
            )
        })
    }
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 * MIB);
    options.set_max_write_buffer_number(4);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Until `allow_compactions`.
    options.set_disable_auto_compactions(true);
    match family {
        Family::Entry => {
            table.set_block_size(32 << 10);
            options.set_write_buffer_size(64 * MIB);
        }
        Family::OpId => {
            // Nearly every look-up is for an operation that is new: a filter answers it.
            table.set_bloom_filter(10.0, false);
            // Its keys are hashes, looked up singly and never in order: a hash table in memory takes them without the cache
            // misses of a skip list, which were half of the writer's time.
            options.set_prefix_extractor(SliceTransform::create_noop());
            options.set_memtable_factory(MemtableFactory::HashLinkList {
                bucket_count: 128 << 10,
            });
        }
        // Already compressed by automerge.
        Family::Snapshot => options.set_compression_type(DBCompressionType::None),
        // Small enough for its skip list to stay in the processor's cache.
        Family::ByDoc => options.set_write_buffer_size(4 * MIB),
        Family::Meta => options.set_write_buffer_size(MIB),
    }
    options.set_block_based_table_factory(&table);
    options
}
