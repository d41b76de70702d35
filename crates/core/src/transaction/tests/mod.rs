mod classic;
mod incarnations;
mod newer;
mod restarts;
mod script;
mod timing;
